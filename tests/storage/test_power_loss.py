"""What a power loss may leave at any moment: names lead to whole files only, and what is said to be there is.

A name on disk is durable once its folder was fsynced with it; a file, once it was fsynced with its content.
So a model of the disk keeps, of each inode, what its last fsync saw, and is asked at every rename.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rewrite import keep_samples
from pipeline.data.shards.sink import ShardSink
from pipeline.images.codec import encode
from pipeline.storage.atomic import make_folder, publish_bytes, publish_file, publish_folder
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.manifest import MANIFEST


class Disk:
    """The model of the folders below `root`. renames: (old name, new name), in order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[int, Any] = {}
        self.renames: list[tuple[str, str]] = []
        self.fsyncs: list[str] = []
        self.on_rename: Callable[[Path, Path], None] = lambda old, new: None

    def fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self._seen[os.fstat(descriptor).st_ino] = self._content(path)
        self.fsyncs.append(path.name)

    def is_written(self, path: Path) -> bool:
        """Whether the content of a file, or of all that is in a folder, is durable."""
        below = [path, *path.rglob("*")] if path.is_dir() else [path]
        return all(self._seen.get(one.stat().st_ino) == self._content(one) for one in below)

    def is_named(self, path: Path) -> bool:
        """Whether the name and those of the folders above it are durable."""
        names = [path, *path.parents]
        return all(
            (self._seen.get(one.parent.stat().st_ino) or {}).get(one.name) == one.stat().st_ino
            for one in names[: names.index(self.root)]
        )

    def rename(self, old: Path, new: Path) -> None:
        if old.parent != new.parent:
            return  # out of one private folder into another: published with that one
        assert self.is_written(old), f"{old} is renamed to {new} before it is durable"
        self.renames.append((old.name, new.name))
        self.on_rename(old, new)

    def remove(self, path: Path) -> None:
        """Nothing is deleted before its successor is durable."""
        if path.name.endswith(".old"):
            successor = path.with_name(path.name.split(".")[1])
            assert self.is_written(successor)
            assert self.is_named(successor), f"{path} goes before {successor} is named"

    @staticmethod
    def _content(path: Path) -> Any:
        if path.is_dir():
            return {entry.name: entry.inode() for entry in os.scandir(path)}
        return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    model = Disk(tmp_path)
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}
    rmtree = shutil.rmtree

    def fsync(descriptor: int) -> None:
        real["fsync"](descriptor)
        model.fsync(descriptor)

    def renaming(name: str) -> Callable[[Any, Any], None]:
        def rename(old: Any, new: Any) -> None:
            if Path(old).exists() and not Path(new).name.endswith(".old"):
                model.rename(Path(old), Path(new))
            real[name](old, new)

        return rename

    def remove(path: Any, *rest: Any, **more: Any) -> None:
        model.remove(Path(path))
        rmtree(path, *rest, **more)

    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, renaming(name))
    monkeypatch.setattr(shutil, "rmtree", remove)
    yield model
    assert model.renames, "nothing was published"


def test_a_file_and_the_folders_above_it(disk: Disk) -> None:
    path = disk.root / "a" / "b" / "c.json"
    for content in (b"one", b"two"):
        publish_bytes(path, content)
        assert disk.is_written(path)
        assert disk.is_named(path)


def test_a_file_that_its_writer_closed_late(disk: Disk) -> None:
    with publish_file(disk.root / "a.bin") as aside, aside.open("wb", buffering=1 << 20) as file:
        file.write(b"x" * 1000)
        file.close()
    assert disk.is_written(disk.root / "a.bin")


def test_a_folder_and_its_successor(disk: Disk) -> None:
    path = disk.root / "runs" / "set"
    for content in ("one", "two"):
        with publish_folder(path) as aside:
            (aside / "inner" / "deep").mkdir(parents=True)
            (aside / "inner" / "deep" / "x").write_text(content)
            (aside / "y").write_text(content)
        assert disk.is_written(path)
        assert disk.is_named(path)


def test_folders_that_are_made(disk: Disk) -> None:
    make_folder(disk.root / "a" / "b" / "c")
    assert disk.is_named(disk.root / "a" / "b" / "c")
    publish_bytes(disk.root / "a" / "x", b"")


def test_a_checkpoint_of_two_ranks_has_its_manifest_last(disk: Disk) -> None:
    store = CheckpointStore(disk.root / "run", keep=1, attempt="a")
    for images in (8, 16):
        for rank in (0, 1):
            store.write_share({"net": {"w": torch.full((3,), float(rank))}}, images, rank=rank, ranks=2)
        disk.fsyncs.clear()
        from pipeline.storage.positions import Position

        store.publish(Position(images, 1, 2, "x"), ranks=2)
        folder = store.folders()[0]
        assert disk.is_written(folder)
        assert disk.is_named(folder)
        written = [name for name in disk.fsyncs if "." in name.lstrip(".")]
        assert written[0] == MANIFEST, "only the manifest is left to write once all shares are there"
        assert store.newest(print) is not None
    assert [path.name for path in store.folders()] == [f"{16:012d}"]


def test_a_share_is_durable_before_its_receipt(disk: Disk) -> None:
    store = CheckpointStore(disk.root / "run", keep=1, attempt="a")

    def receipt(old: Path, new: Path) -> None:
        assert new.suffixes[-2:] == [".safetensors", ".json"]
        assert disk.is_written(new.with_suffix(""))

    disk.on_rename = receipt
    store.write_share({"net": {"w": torch.zeros(3)}}, 8, rank=0, ranks=1)


def test_every_shard_is_durable_before_the_index_lists_it(disk: Disk) -> None:
    root = disk.root / "set"
    image = encode(torch.zeros(8, 8, 3, dtype=torch.uint8).numpy(), "png")

    def listed(old: Path, new: Path) -> None:
        if new.name == "index.json":
            publishing = list(root.glob("*.tar"))
            assert publishing
            assert all(disk.is_written(path) and disk.is_named(path) for path in publishing)

    disk.on_rename = listed
    with ShardSink(root, name="data", height=8, width=8, channels=3, shard_size=2) as sink:
        for number in range(5):
            sink.write(f"{number:08d}", image, "png")
    assert [new for _, new in disk.renames].count("index.json") == 4
    assert disk.is_named(root / "index.json")
    keep_samples(ShardIndex.read(root), "data-00000.tar", {"00000001"})
    assert disk.is_written(root / "data-00000.tar")
