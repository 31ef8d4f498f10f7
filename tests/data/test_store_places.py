"""What a person may write where a data set is asked for, and what is refused before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.shards.index import locate
from pipeline.data.stores.place import Remote, StoreSettings, place_of
from pipeline.errors import UserError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("shards", "shards"),
        ("./a:b/shards", "a:b/shards"),
        ("http://host/a/b/", "http://host/a/b"),
        ("HTTPS://host:8443/a", "https://host:8443/a"),
        ("s3://bucket/some folder/ü", "s3://bucket/some folder/ü"),
        ("s3://bucket", "s3://bucket"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("gcs://bucket/a", "gcs://bucket/a"),
        ("az://container/a", "az://container/a"),
        (
            "abfs://container@account.dfs.core.example.net/a",
            "abfs://container@account.dfs.core.example.net/a",
        ),
        ("file:///data/some%20folder", "/data/some folder"),
        ("file://localhost/data", "/data"),
    ],
)
def test_a_place_is_what_was_meant(given: str, meant: str) -> None:
    assert str(place_of(given)) == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ftp://host/a", "ftp: is not a scheme that data is read from"),
        ("memory://a", "memory: is not a scheme that data is read from"),
        ("pipe:cat secret", "pipe: is not a scheme that data is read from"),
        ("s3:bucket/a", "s3: is not a scheme that data is read from"),
        ("simplecache::s3://b/a", "simplecache: is not a scheme that data is read from"),
        ("http://host:secret@host/a", "with a user or a password"),
        ("http://host@host/a", "with a user or a password"),
        ("s3://AKIA:secret@bucket/a", "credentials come from the environment (AWS_ACCESS_KEY_ID"),
        ("abfs://container:secret@account.dfs.core.example.net/a", "with a user or a password"),
        ("https://host/a?X-Amz-Signature=secret&x=1", "with a query or a fragment"),
        ("https://host/a?", "with a query or a fragment"),
        ("https://host:secret@host/a?sig=secret#secret", "with a query or a fragment"),
        ("gs://bucket/a#secret", "credentials come from GOOGLE_APPLICATION_CREDENTIALS"),
        ("http:///a", "names no host"),
        ("s3:///a", "names no bucket"),
        ("az:///a", "names no bucket"),
        ("http://host:port/a", "is not a URL"),
        ("s3://bucket:80/a", "is not a URL"),
        ("http://host/a/../../b", "is not a URL"),
        ("http://host/a\\b", "is not a URL"),
        ("http://host/a\nb", "is not a URL"),
        ("http://[::1/a", "is not a URL"),
        ("file://other/a", "names another machine"),
    ],
)
def test_what_is_no_place_is_refused_in_one_line_without_its_secret(given: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        place_of(given)
    line = str(caught.value)
    assert said in line
    assert "secret" not in line or given.startswith("pipe")
    assert len(line.splitlines()) == 1 or "\n" in given


def test_the_index_of_a_store_is_beside_its_shards_or_named() -> None:
    for given in ("s3://b/a", "s3://b/a/", "s3://b/a/index.json"):
        assert str(locate(given)) == "s3://b/a/index.json"
    assert str(locate("s3://b/a/half.json")) == "s3://b/a/half.json"


def test_a_place_passes_on_how_its_store_is_read_and_is_equal_without() -> None:
    settings = StoreSettings(cache="kept", patience_seconds=1)
    place = place_of("s3://b/a", settings)
    assert isinstance(place, Remote)
    level = place / "levels" / "0008"
    assert (str(level), level.name, str(level.parent), level.settings) == (
        "s3://b/a/levels/0008",
        "0008",
        "s3://b/a/levels",
        settings,
    )
    assert place == place_of("s3://b/a")
    assert place_of(Path("s3:/b")) == Path("s3:/b")  # what is a path already stays one
