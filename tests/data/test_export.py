"""Shards as plain files: whole, with safe names, and shards again."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from launch.main import main
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.export import class_folders, export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from tests.evaluation.worlds import write_shards

CLASSES = ("../../etc", "a/b", "..", "night & day")


@pytest.fixture
def index(tmp_path: Path) -> ShardIndex:
    return write_shards(tmp_path / "shards", 20, classes=CLASSES)


def test_a_folder_has_every_image_and_prepares_into_the_same_data(index: ShardIndex, tmp_path: Path) -> None:
    assert main(["export", str(index.root), str(tmp_path / "files")]) == 0
    names = sorted(str(path.relative_to(tmp_path / "files")) for path in tmp_path.rglob("files/*/*"))
    labels = dict(json.loads((tmp_path / "files/dataset.json").read_bytes())["labels"])
    assert names == sorted(labels)
    assert {name.split("/")[0] for name in names} == {"0-etc", "1-a_b"}  # 0 and 1 are what write_shards gives
    metas = [json.loads(line) for line in (tmp_path / "files/metadata.jsonl").read_text().splitlines()]
    assert [meta["file_name"] for meta in metas] == list(labels)
    prepare(str(tmp_path / "files"), tmp_path / "again", Asked(labels="folders"))
    found, expected = ({} for _ in range(2))
    for data, into in ((index, expected), (ShardIndex.read(tmp_path / "again"), found)):
        for images, numbers, _ in read_uint8(data):
            assert numbers is not None
            into.update(
                {image.numpy().tobytes(): number for image, number in zip(images, numbers, strict=True)}
            )
    assert found == expected
    assert len(found) == 20


def test_a_zip_is_the_same_bytes_each_time_and_holds_the_folder(index: ShardIndex, tmp_path: Path) -> None:
    (index.root / "README.md").write_text("card")
    for name in ("a.zip", "b.zip", "folder"):
        assert export(index, tmp_path / name) == 20
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    folder = tmp_path / "folder"
    assert inside == {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert inside["README.md"] == b"card"
    assert not [name for name in inside if ".." in name or name.startswith("/")]


def test_nothing_is_overwritten_or_left_half(index: ShardIndex, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there: exists; allowed: a new folder or a new"):
        export(index, tmp_path / "there")
    shard = index.root / index.shards[1].name
    data = bytearray(shard.read_bytes())
    data[data.find(b"IDAT") + 10] ^= 1  # in the first image of the second shard
    shard.write_bytes(data)
    for name in ("half", "half.zip"):
        with pytest.raises(UserError, match="crc32 differs"):
            export(index, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "there"]


def test_class_folders_are_plain_and_distinct() -> None:
    assert class_folders(CLASSES) == ["0-etc", "1-a_b", "2", "3-night_day"]
    many = class_folders(tuple("é" for _ in range(12)))
    assert len(set(many)) == 12
    assert many[3] == "03"


def test_unlabelled_images_lie_in_the_folder_itself(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "shards", 3)
    export(index, tmp_path / "files")
    assert json.loads((tmp_path / "files/dataset.json").read_bytes())["labels"] is None
    found = {path.stem: path.read_bytes() for path in (tmp_path / "files").glob("*.png")}
    assert found == {sample.key: sample.image for sample in read_samples(index)}
    assert len(found) == 3
