"""Checkpoints: damage is named and passed over, the last K stay, a kill at any moment costs nothing older."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.storage.checkpoints import CheckpointStore, share_name
from pipeline.storage.manifest import MANIFEST

SHARE = "weights-00000-of-00001.safetensors"
ROOT = Path(__file__).resolve().parents[2]


def groups(value: float) -> dict:
    return {
        "networks": {"generator.w": torch.full((64, 3), value)},
        "progress": {"step": torch.tensor(int(value))},
    }


def save(store: CheckpointStore, images: int) -> Path:
    return store.save(groups(images), images_seen=images, step=images, world_size=1, config_digest="c")


def newest(store: CheckpointStore) -> tuple[int | None, list[str]]:
    said: list[str] = []
    found = store.newest(said.append)
    return (None if found is None else found.manifest.images_seen), said


def test_what_is_saved_is_loaded(tmp_path):
    store = CheckpointStore(tmp_path, 2)
    save(store, 8)
    found = store.newest(pytest.fail)
    loaded = found.load()
    assert loaded.keys() == groups(8).keys()
    for name, tensors in groups(8).items():
        for key, value in tensors.items():
            assert torch.equal(loaded[name][key], value)
            assert loaded[name][key].dtype == value.dtype
    assert found.manifest.code["torch"] == torch.__version__
    assert (found.manifest.images_seen, found.manifest.step) == (8, 8)
    assert (found.manifest.world_size, found.manifest.config_digest) == (1, "c")


def test_the_last_k_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, 2)
    for images in (0, 8, 16, 24):
        save(store, images)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "000000000016",
        "000000000024",
    ]


def test_an_empty_run_has_none(tmp_path):
    assert newest(CheckpointStore(tmp_path, 2)) == (None, [])


def truncate(folder: Path) -> None:
    path = folder / SHARE
    path.write_bytes(path.read_bytes()[:-5])


def flip(folder: Path) -> None:
    path = folder / SHARE
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def edit_manifest(**changes):
    def edit(folder: Path) -> None:
        path = folder / MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


DAMAGE = {
    "truncated": (
        truncate,
        "bytes, its manifest says",
    ),
    "flipped bit": (flip, f"{SHARE}: its content does not match the sha256"),
    "missing file": (lambda f: (f / SHARE).unlink(), f"{SHARE}: missing"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "manifest.json: No such file"),
    "half a manifest": (
        lambda f: (f / MANIFEST).write_text('{"kind": "che'),
        "manifest.json: not valid JSON",
    ),
    "no format": (edit_manifest(format=None), "unknown format"),
    "unknown key": (edit_manifest(surprise=1), "surprise: unknown key"),
    "list of files": (edit_manifest(files=[1]), "files: must be a valid dictionary"),
    "path out of the folder": (
        edit_manifest(files={"../evil": {"size": 1, "sha256": "0"}}),
        "leads out of the folder",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_one_is_named_and_passed_over(tmp_path, name):
    damage, message = DAMAGE[name]
    store = CheckpointStore(tmp_path, 3)
    save(store, 8)
    damage(save(store, 16))
    images, said = newest(store)
    assert images == 8
    assert len(said) == 1
    assert message in said[0]
    assert "000000000016" in said[0]
    save(store, 16)  # the run comes by again and replaces it
    assert newest(store) == (16, [])


def test_one_of_a_newer_version_is_neither_passed_over_nor_replaced(tmp_path):
    store = CheckpointStore(tmp_path, 3)
    save(store, 8)
    folder = save(store, 16)
    edit_manifest(format=2)(folder)
    before = (folder / MANIFEST).read_bytes()
    line = r"000000000016/manifest.json: format 2, of a newer version of hrgan; this one reads format 1"
    for act in (lambda: newest(store), lambda: save(store, 16)):
        with pytest.raises(UserError, match=line):
            act()
    assert (folder / MANIFEST).read_bytes() == before


def test_what_a_start_killed_amid_a_share_has_left_is_no_hindrance(tmp_path):
    """The library writes into a folder aside, in the folder of shares, where another start of the same name
    finds it."""
    left = tmp_path / "checkpoints" / ".000000000016..partial" / f".{share_name(0, 1)}.00000000-1-1.partial"
    left.mkdir(parents=True)
    (left / share_name(0, 1)).write_bytes(b"half")
    store = CheckpointStore(tmp_path, 3)
    assert sorted(path.name for path in save(store, 16).iterdir()) == [MANIFEST, share_name(0, 1)]
    assert newest(store) == (16, [])


_SAVER = """
import sys
from pathlib import Path
import torch
from pipeline.storage.checkpoints import CheckpointStore
store = CheckpointStore(Path(sys.argv[1]), 2)
for images in range(int(sys.argv[2]), 10_000):
    tensors = {str(i): torch.full((50_000,), float(images)) for i in range(4)}
    others = {name: tensor.clone() for name, tensor in tensors.items()}
    store.save({"a": tensors, "b": others}, images_seen=images, step=0, world_size=1, config_digest="")
    print("saved", flush=True)
"""


@pytest.mark.slow
def test_kill_at_random_moments_of_saving_always_leaves_a_whole_one(tmp_path):
    chance = random.Random(5)
    last = -1
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _SAVER, str(tmp_path), str(last + 1)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"saved\n"
        time.sleep(0.2 + 0.2 * chance.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = CheckpointStore(tmp_path, 2).newest(pytest.fail)
        images = found.manifest.images_seen
        assert images > last
        assert all(bool((t == images).all()) for g in found.load().values() for t in g.values())
        last = images
