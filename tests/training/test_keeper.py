"""A checkpoint is the state at its step, whatever training does while it is written."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from pipeline.config.run import RunConfig
from pipeline.contracts import Process
from pipeline.errors import RunFailed
from pipeline.storage import checkpoints
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.training.keeper import RunKeeper
from pipeline.training.state import RankShare, copied, put_back, take
from tests.small_run import ROOT, environment
from tests.tiny_families import tiny_config, tiny_family, tiny_trainer
from tests.toy import ToyStream, toy_trainer


def keeper(run, **settings) -> RunKeeper:
    config = RunConfig(family=tiny_config("stylegan2"), checkpoints=settings)
    return RunKeeper(run, config, SimpleNamespace(), ())


@pytest.fixture
def slow_disk(monkeypatch):
    """Writing begins only when this event is set."""
    release, real = threading.Event(), checkpoints.save_tensors

    def save(path, tensors):
        assert release.wait(30)
        real(path, tensors)

    monkeypatch.setattr(checkpoints, "save_tensors", save)
    return release


def test_training_goes_on_and_the_checkpoint_is_of_its_step(tmp_path, slow_disk):
    running, kept = toy_trainer(), keeper(tmp_path)
    running.step()
    then = copied(take(running))
    kept.checkpoint(running)
    running.step()
    assert not kept.failed
    store = CheckpointStore(tmp_path, 2)
    assert store.newest(print) is None  # nothing is there before all of it is
    slow_disk.set()
    kept.finish(running)
    found = store.newest(print)
    assert found.manifest.images_seen == 8
    loaded = found.load()
    assert loaded.keys() == then.keys()
    for group, tensors in then.items():
        assert loaded[group].keys() == tensors.keys()
        for name, value in tensors.items():
            assert torch.equal(loaded[group][name], value), (group, name)


def test_without_background_it_is_there_at_once(tmp_path):
    running = toy_trainer()
    running.step()
    keeper(tmp_path, background=False).checkpoint(running)
    assert CheckpointStore(tmp_path, 2).newest(print).manifest.images_seen == 8


def test_a_terminal_that_is_gone_while_it_waits_costs_no_checkpoint(tmp_path, slow_disk, monkeypatch):
    said = []

    def write(text):
        said.append(text)
        slow_disk.set()
        raise BrokenPipeError

    monkeypatch.setattr("pipeline.training.keeper._TELL_SECONDS", 0)
    running, kept = toy_trainer(), keeper(tmp_path)
    running.step()
    kept.checkpoint(running)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=write))
    kept.finish(running)
    assert said[0] == "waiting for 1 processes to write their part of a checkpoint"
    assert CheckpointStore(tmp_path, 2).newest(print).manifest.images_seen == 8


def test_a_full_disk_is_one_line_at_the_next_step_and_the_older_one_stays(tmp_path, monkeypatch):
    running, kept = toy_trainer(), keeper(tmp_path)
    running.step()
    kept.checkpoint(running)
    kept.finish(running)

    def full(path, tensors):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    running.step()
    kept.checkpoint(running)
    with pytest.raises(RunFailed, match="the disk is full"):
        kept.finish(running)
    assert CheckpointStore(tmp_path, 2).newest(print).manifest.images_seen == 8


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_every_tensor_is_one_ranks_share_and_shares_are_balanced(ranks):
    family = tiny_family("stylegan2")
    running = tiny_trainer(family)
    running.step()
    whole = take(running)
    count = len(running.tracked)
    shares = [RankShare(running.networks, Process(r, ranks), count) for r in range(ranks)]
    parts = [take(running, share.holds) for share in shares]
    for group, tensors in whole.items():
        assert sorted(name for part in parts for name in part[group]) == sorted(tensors)
    sizes = [sum(t.nbytes for tensors in part.values() for t in tensors.values()) for part in parts]
    assert max(sizes) < 1.2 * sum(sizes) / ranks
    moments = [name.rsplit(".", 1) for name in parts[-1]["optimizers"]]
    assert all(name in parts[-1]["networks"] for name, _ in moments)  # moments stay with their parameter


KILLED = """
import sys, time
from pathlib import Path
from pipeline.storage import checkpoints
from tests.toy import toy_trainer
from tests.training.test_keeper import keeper

running, kept = toy_trainer(), keeper(Path(sys.argv[1]))
running.step()
kept.checkpoint(running)
kept.finish(running)
real, written = checkpoints.save_tensors, []

def save(path, tensors):
    real(path, tensors)
    written.append(path)
    if len(written) == 1:
        print("half", flush=True)
        time.sleep(600)

checkpoints.save_tensors = save
running.step()
kept.checkpoint(running)
while True:
    time.sleep(1)
"""


def test_killed_half_way_through_the_older_one_is_whole_and_the_next_is_saved(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert list((tmp_path / "checkpoints").glob(".*partial/*.safetensors"))  # it was in the middle
    found = CheckpointStore(tmp_path, 2).newest(print)
    assert found.manifest.images_seen == 8
    running, kept = toy_trainer(), keeper(tmp_path)
    put_back(running, found.load())
    running.stream = ToyStream(8)
    running.step()
    kept.checkpoint(running)
    kept.finish(running)
    assert CheckpointStore(tmp_path, 2).newest(print).manifest.images_seen == 16
    assert not list((tmp_path / "checkpoints").glob(".*"))
