"""Stores of objects: S3 by its real client from a server here, the others as far as one gets without."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
import torch
from fsspec.registry import _registry
from moto.server import ThreadedMotoServer

from pipeline.data.preparing.pyramid import build_pyramid
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.stores import systems
from pipeline.data.stores.place import Remote, StoreSettings, place_of
from pipeline.data.stores.systems import file_system
from pipeline.errors import RunFailed, UserError
from tests.data import layers
from tests.data.sets import draw_global, make_set

DRAWS = [(48, 3)]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, and the environment that leads to it."""
    for key, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)
    systems._systems.clear()
    made = boto3.resource("s3").create_bucket(Bucket="data")
    yield made
    made.objects.all().delete()
    made.delete()
    systems._systems.clear()


def put(folder: Path, bucket: Any, under: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), f"{under}/{path.relative_to(folder)}")


def opened(url: str, folder: Path, damaged: str = "error") -> ShardIndex:
    settings = StoreSettings(str(folder / "cache"), patience_seconds=2, silence_seconds=5)
    return ShardIndex.read(place_of(url, settings), damaged=damaged)


def test_s3_gives_what_a_disk_gives(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "_PIECE", 20_000)  # a shard in three pieces
    disk = make_set(tmp_path / "set", 96)
    put(tmp_path / "set", bucket, "some/set")
    index = opened("s3://data/some/set", tmp_path)
    assert index.digest == disk.digest
    assert torch.equal(draw_global(index, DRAWS, workers=2)[0], draw_global(disk, DRAWS)[0])


def test_levels_and_files_beside_come_from_s3(bucket: Any, tmp_path: Path) -> None:
    disk = build_pyramid(layers.make(tmp_path / "set"))
    (tmp_path / "set" / "README.md").write_text("About it.")
    put(tmp_path / "set", bucket, "set")
    index = opened("s3://data/set/", tmp_path)
    for mine, theirs in zip(layers.draw(index, [(8, 8)]), layers.draw(disk, [(8, 8)]), strict=True):
        assert torch.equal(mine[0], theirs[0])
    export(index, tmp_path / "a.zip")
    export(disk, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_sizes_are_looked_at_in_one_listing(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(tmp_path / "set", 96)
    put(tmp_path / "set", bucket, "set")
    index, asked = opened("s3://data/set", tmp_path, "skip"), []
    system = file_system(index.root)
    real = system._call_s3
    monkeypatch.setattr(system, "_call_s3", lambda *a, **k: asked.append(a[0]) or real(*a, **k))
    index.check_sizes()
    assert len(asked) <= 2  # for six shards


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda bucket: bucket.Object("set/data-00001.tar").delete(),
            "data-00001.tar: shard missing; index.js",
        ),
        (lambda bucket: bucket.Object("set/data-00001.tar").put(Body=b"x"), "shard damaged: has 1 bytes"),
        (
            lambda bucket: [_.delete() for _ in bucket.objects.filter(Prefix="set/data")],
            "data-00000.tar: shard m",
        ),
        (lambda bucket: bucket.Object("set/index.json").delete(), "set/index.json: no such index"),
        (lambda bucket: bucket.Object("set/index.json").put(Body=b"\xff{"), "not text in UTF-8"),
        (lambda bucket: bucket.Object("set/index.json").put(Body=b"{"), "not valid JSON"),
    ],
)
def test_what_is_wrong_in_a_bucket_is_named(bucket: Any, tmp_path: Path, change: Any, said: str) -> None:
    make_set(tmp_path / "set", 48)
    put(tmp_path / "set", bucket, "set")
    change(bucket)
    with pytest.raises(UserError) as caught:
        opened("s3://data/set", tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("s3://data/set/")


def test_a_bucket_that_is_not_there(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"s3://other/set/index\.json: no such index"):
        opened("s3://other/set", tmp_path)


def test_without_credentials(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        UserError, match=r"no valid credentials; .* come from the environment \(AWS_ACCESS_KEY"
    ):
        opened("s3://data/set", tmp_path)


def test_a_server_of_s3_that_is_gone(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        RunFailed, match=r"s3://data/set/index\.json: the store fails: .*the same command goes on"
    ):
        opened("s3://data/set", tmp_path)


@pytest.mark.parametrize(
    ("url", "kind", "silence"),
    [
        (
            "gs://bucket/set",
            "ExtendedGcsFileSystem",
            lambda system: system.session_kwargs["timeout"].sock_read,
        ),
        ("az://container/set", "AzureBlobFileSystem", lambda system: system._timeout_kwargs["read_timeout"]),
        ("s3://bucket/set", "S3FileSystem", lambda system: system.config_kwargs["read_timeout"]),
        ("https://host/set", "HTTPFileSystem", lambda system: system.client_kwargs["timeout"].sock_read),
    ],
)
def test_every_kind_of_store_has_its_client_with_time_limits(
    url: str, kind: str, silence: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    # fsspec's own settings apply; without them gcsfs would ask the network for an account.
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    place = place_of(url, StoreSettings(silence_seconds=7))
    assert isinstance(place, Remote)
    system = file_system(place)
    assert type(system).__name__ == kind
    assert silence(system) == 7


def test_azure_without_an_account_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"az://container/set/index\.json: cannot be asked: .*account_name"):
        opened("az://container/set", tmp_path)


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3://b/set", "s3fs", "s3fs"),
        ("gs://b/set", "gcsfs", "gcsfs"),
        ("az://b/set", "adlfs", "adlfs"),
        ("http://host/set", "fsspec", "fsspec and aiohttp"),
        ("http://host/set", "aiohttp", "fsspec and aiohttp"),
    ],
)
def test_a_missing_library_names_the_extra(
    url: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)  # as if never used
    systems._systems.clear()
    with pytest.raises(UserError) as caught:
        opened(url, tmp_path)
    assert str(caught.value).endswith(
        f"reading it needs {package}, which is not installed: pip install 'hrgan[cloud]'"
    )
