"""The index and the sink: what is refused, by its message, and what a kill leaves behind."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.data.shards.verify import verify
from pipeline.errors import UserError
from tests.data.sets import make_set, png


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = make_set(tmp_path / "a", 40)
    for place in (tmp_path / "a", str(tmp_path / "a"), tmp_path / "a/index.json"):
        index = ShardIndex.read(place)
        assert index.count == 40
        assert [shard.count for shard in index.shards] == [16, 16, 8]
        assert (index.spec.height, index.spec.channels, index.spec.classes) == (8, 3, 10)
        assert index.digest == written.digest
    verify(index)
    assert make_set(tmp_path / "b", 40).digest == index.digest  # wherever it lies
    assert make_set(tmp_path / "c", 39).digest != index.digest


def test_shards_are_plain_webdataset_tars(tmp_path: Path) -> None:
    make_set(tmp_path, 3)
    with tarfile.open(tmp_path / "data-00000.tar") as tar:
        names = tar.getnames()
        assert names[:3] == ["00000000.cls", "00000000.json", "00000000.png"]
        member = tar.extractfile("00000002.cls")
        assert member is not None
        assert member.read() == b"2"
        assert {(m.mtime, m.uname, m.gname) for m in tar} == {(0, "", "")}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pipe:cat x", "pipe: is not a scheme that data is read from"),
        ("ftp://host/data", "ftp: is not a scheme"),
        ("memory://bucket/data", "memory: is not a scheme"),
        ("/no/such/folder", "no such index; give a folder of shards"),
    ],
)
def test_what_is_no_data_set(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ShardIndex.read(path)


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format", to="other"), "format: not one this version reads"),
        (
            _set("version", to=4),
            "index.json: version 4, of a newer version of hrgan; this one reads version 3",
        ),
        (_set("version", to=0), "unknown version .this version reads version 3.; restore it"),
        (_set("version", to=None), "unknown version"),
        (_set("complete", to=False), "not complete.*run the same command again"),
        (_set("height", to="8"), "height: must be int, not '8'"),
        (_set("height", to=True), "height: must be int, not True"),
        (_set("width", to=0), "width: 0; must be at least 1"),
        (_set("channels", to=2), "channels: 2; allowed: 1 .grey., 3 .RGB., 4 .RGBA."),
        (_set("classes", to=[1]), "classes: must be a list of names"),
        (_set("count", to=7), "count: differs from the sum over its shards, 40"),
        (_set("shards", 1, "name", to="../x.tar"), r"shards\[1\].name: '../x.tar'; must be a plain"),
        (_set("shards", 1, "name", to="/etc/x.tar"), r"shards\[1\].name"),
        (_set("shards", 1, "name", to="data-00000.tar"), "data-00000.tar is listed twice"),
        (_set("shards", 1, "sha256", to="zz"), r"shards\[1\].sha256: must be 64 hex"),
        (_set("shards", 1, to=[]), r"shards\[1\].: must be a JSON object"),
        (_set("shards", 1, "bytes", to=20480), "data-00001.tar: shard damaged: has .* bytes"),
        (_set("shards", 1, "name", to="gone.tar"), "gone.tar: shard missing or unreadable"),
    ],
)
def test_a_wrong_index_names_file_and_key(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    make_set(tmp_path, 40)
    content = json.loads((tmp_path / "index.json").read_text())
    change(content)
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        ShardIndex.read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        ShardIndex.read(tmp_path)


def _sink(root: Path, **origin: object) -> ShardSink:
    return ShardSink(root, name="data", height=8, width=8, channels=3, origin=origin, shard_size=4)


def test_an_interrupted_sink_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    def fill(root: Path, stop: int) -> None:
        with _sink(root, seed=1) as sink:
            for n in range(sink.finished, 11):
                if n == stop:
                    raise KeyboardInterrupt
                sink.write(f"{n}", png(n), "png")

    fill(tmp_path / "whole", -1)
    for stop in (0, 3, 4, 7, 10):
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "cut", stop)
        assert not list((tmp_path / "cut").glob("*.partial"))
        if stop >= 4:
            with pytest.raises(UserError, match="not complete"):
                ShardIndex.read(tmp_path / "cut")
        for name in ("data-00009.tar.partial", ".index.json.01234567-89-89.partial"):
            (tmp_path / "cut" / name).write_text("left by a kill")
    fill(tmp_path / "cut", -1)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()
    assert not list((tmp_path / "cut").glob("*.partial"))
    with _sink(tmp_path / "cut", seed=1) as sink:
        assert sink.complete
        assert sink.finished == 11


def test_another_origin_is_refused_with_the_differing_keys(tmp_path: Path) -> None:
    with _sink(tmp_path, seed=1, source="x") as sink:
        sink.write("a", png(1), "png")
    with pytest.raises(UserError, match=r"holds another data set \(seed: 1 there, 2 asked\)"):
        _sink(tmp_path, seed=2, source="x")
    with pytest.raises(UserError, match="extra: None there, 1 asked"):
        _sink(tmp_path, seed=1, source="x", extra=1)


def test_a_folder_of_strangers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"not empty \(holds holiday.jpg\)"):
        _sink(tmp_path)


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with _sink(tmp_path) as sink:
        with pytest.raises(UserError, match="another process is writing"):
            _sink(tmp_path)
        sink.write("a", png(1), "png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.b", b"", "png"), "key 'a.b'"),
        (("../a", b"", "png"), "key '../a'"),
        (("a", b"", "pyd"), "extension 'pyd'; allowed: png, jpg, webp"),
        (("a", b"", "png", 3), "label 3 does not fit 0 classes"),
    ],
)
def test_samples_that_no_reader_would_take(tmp_path: Path, arguments: Any, message: str) -> None:
    sink = _sink(tmp_path)
    with pytest.raises(ValueError, match=message):
        sink.write(*arguments)
    with pytest.raises(UserError, match="no samples were written"):
        sink.close()
    sink.__exit__(KeyError, None, None)
