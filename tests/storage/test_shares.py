"""A checkpoint that several ranks write: there when all of them have written, and otherwise not at all."""

from __future__ import annotations

import json
import threading

import pytest
import torch

from pipeline.storage.checkpoints import CheckpointStore, share_name
from pipeline.storage.manifest import MANIFEST, Manifest, code_version, digest_folder
from pipeline.storage.positions import Position
from pipeline.storage.tensors import save_tensors

RANKS = 3


def store(run, attempt: str = "now") -> CheckpointStore:
    return CheckpointStore(run, 2, attempt)


def share(rank: int) -> dict:
    return {"networks": {f"w{rank}": torch.full((50,), float(rank))}, "memory": {}}


def write(run, rank: int, images: int = 8, attempt: str = "now") -> None:
    store(run, attempt).write_share(share(rank), images, rank=rank, ranks=RANKS)


def publish(run, images: int = 8, attempt: str = "now", given_up: threading.Event | None = None) -> None:
    store(run, attempt).publish(Position(images, 1, RANKS, "c"), ranks=RANKS, given_up=given_up)


@pytest.fixture
def publishing(tmp_path):
    """A publisher that waits, after ranks 0 and 1 have written; ends with the test."""
    for rank in (0, 1):
        write(tmp_path, rank)
    given_up = threading.Event()
    thread = threading.Thread(target=publish, args=(tmp_path,), kwargs={"given_up": given_up})
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    yield thread
    given_up.set()
    thread.join(10)


def newest(run):
    return store(run).newest(pytest.fail)


def test_it_appears_with_the_last_share_and_holds_all_of_them(tmp_path, publishing):
    assert newest(tmp_path) is None
    write(tmp_path, 2)
    publishing.join(10)
    found = newest(tmp_path)
    assert sorted(found.manifest.files) == [share_name(rank, RANKS) for rank in range(RANKS)]
    assert found.manifest.world_size == RANKS
    (group, tensors), *others = found.load().items()
    assert (group, others) == ("networks", [])
    for rank in range(RANKS):
        assert torch.equal(tensors[f"w{rank}"], share(rank)["networks"][f"w{rank}"])
    assert sorted(path.name for path in found.folder.iterdir()) == sorted([*found.manifest.files, MANIFEST])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [found.folder.name]


def test_a_share_that_is_not_all_there_to_see_is_waited_for(tmp_path, publishing):
    """As on a network file system that shows the receipt first."""
    write(tmp_path / "elsewhere", 2)
    (whole,) = (tmp_path / "elsewhere" / "checkpoints").glob(".*")
    (aside,) = (tmp_path / "checkpoints").glob(".*")
    name = share_name(2, RANKS)
    data = (whole / name).read_bytes()
    (aside / name).write_bytes(data[:-1])
    (aside / f"{name}.json").write_bytes((whole / f"{name}.json").read_bytes())
    publishing.join(0.2)
    assert publishing.is_alive()
    (aside / name).write_bytes(data)
    publishing.join(10)
    assert not publishing.is_alive()
    assert newest(tmp_path).manifest.images_seen == 8


def test_given_up_nothing_appears(tmp_path):
    write(tmp_path, 0)
    given_up = threading.Event()
    given_up.set()
    publish(tmp_path, given_up=given_up)
    assert newest(tmp_path) is None
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_what_a_killed_start_left_is_not_taken_and_goes_with_the_next_checkpoint(tmp_path, publishing):
    write(tmp_path, 2, attempt="before")  # and died
    publishing.join(0.2)
    assert publishing.is_alive()  # the share of the start before is none of this one's
    write(tmp_path, 2)
    publishing.join(10)
    assert newest(tmp_path).manifest.images_seen == 8
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_whole_one_is_not_written_again(tmp_path):
    for attempt in ("first", "second"):
        for rank in range(RANKS):
            write(tmp_path, rank, attempt=attempt)
        publish(tmp_path, attempt=attempt)
        stamps = [path.stat().st_ino for path in sorted(newest(tmp_path).folder.iterdir())]
        if attempt == "first":
            kept = stamps
    assert stamps == kept
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_rank_without_tensors_writes_an_empty_share(tmp_path):
    store(tmp_path).write_share({"networks": {}}, 8, rank=0, ranks=1)
    store(tmp_path).publish(Position(8, 1, 1, ""), ranks=1)
    assert newest(tmp_path).load() == {}


def test_one_file_a_group_as_before_loads(tmp_path):
    folder = tmp_path / "checkpoints" / f"{8:012d}"
    folder.mkdir(parents=True)
    save_tensors(folder / "networks.safetensors", {"generator.w": torch.ones(3)})
    save_tensors(folder / "progress.safetensors", {"step": torch.tensor(4)})
    manifest = Manifest("checkpoint", 8, 4, 2, "c", code_version(), digest_folder(folder))
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    loaded = newest(tmp_path).load()
    assert loaded["progress"] == {"step": torch.tensor(4)}
    assert torch.equal(loaded["networks"]["generator.w"], torch.ones(3))


def test_a_receipt_tells_size_and_digest(tmp_path):
    write(tmp_path, 1)
    (receipt,) = (tmp_path / "checkpoints").glob(".*/*.json")
    (file,) = (tmp_path / "checkpoints").glob(".*/*.safetensors")
    (expected,) = [e for name, e in digest_folder(file.parent).items() if name == file.name]
    assert json.loads(receipt.read_bytes()) == {"size": expected.size, "sha256": expected.sha256}
