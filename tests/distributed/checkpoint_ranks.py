"""One rank of a toy run that saves with others, meets a full disk on one of them, and goes on from what every
rank sees whole."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.config.run import RunConfig
from pipeline.engines.process import start_process, stop_process
from pipeline.engines.replicated import Replicated
from pipeline.errors import RunFailed
from pipeline.storage import checkpoints
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.training.keeper import RunKeeper
from pipeline.training.loop import Loop
from pipeline.training.resume import agreed_checkpoint
from pipeline.training.state import copied, take
from pipeline.training.stop import StopRequest
from tests.tiny_families import tiny_config
from tests.toy import toy_trainer


def main(out: str) -> None:
    torch.set_num_threads(1)
    process, run, said = start_process("cpu"), Path(out), []
    config = RunConfig(family=tiny_config("stylegan2"), checkpoints={"keep": 9})
    keeper = RunKeeper(run, config, SimpleNamespace(), (), "a")
    running, store = toy_trainer(engine=Replicated(process)), CheckpointStore(run, 9)
    for _ in range(3):
        running.step()
        keeper.checkpoint(running)
    keeper.finish(running)
    found = agreed_checkpoint(store, process, said.append)
    loaded, taken = found.load(), copied(take(running))
    for group, tensors in taken.items():
        assert all(torch.equal(loaded[group][name], value) for name, value in tensors.items()), group
    assert said == []

    # The last rank's host sees an old file in the newest, and another manifest in the one before.
    real_verify, real_digest = checkpoints.verify, sys.modules["pipeline.training.resume"].digest_file
    stale = process.rank == process.world_size - 1

    def verify(folder):
        if stale and folder.name.endswith("24"):
            raise checkpoints.Damaged(f"{folder}/weights: its content does not match")
        return real_verify(folder)

    def digest(path):
        return "old" if stale and path.parent.name.endswith("16") else real_digest(path)

    checkpoints.verify = verify
    sys.modules["pipeline.training.resume"].digest_file = digest
    found = agreed_checkpoint(store, process, said.append)
    assert found.manifest.images_seen == 8
    if process.is_first:
        assert len(said) == 2
        assert "its content does not match" in said[0]
        assert "another than the first process sees" in said[1]

    def nothing(folder):
        if stale:
            raise checkpoints.Damaged(f"{folder}/manifest.json: No such file")
        return real_verify(folder)

    checkpoints.verify = nothing
    with pytest.raises(RunFailed, match="a --run folder that all hosts share"):
        agreed_checkpoint(store, process, said.append)
    checkpoints.verify = real_verify

    # One rank's gradients go bad and stay so: all skip together, and end together.
    running.stream.factor = float("nan") if stale else 1.0
    before = copied(take(running))
    bad = config.model_copy(update={"engine": config.engine.model_copy(update={"bad_steps": 3})})
    with pytest.raises(
        RunFailed, match=r"3 updates in a row .* up to 48 images; the last checkpoint is whole"
    ):
        Loop(running, bad, keeper, None, StopRequest()).run()
    after = take(running)["networks"]
    for name in (name for name in after if name.startswith("discriminator.")):  # the one that sees reals
        assert torch.equal(after[name], before["networks"][name]), name
    running.stream.factor = 1.0

    # One rank's disk is full: every rank ends with that rank's line.
    def full(path, tensors):
        raise OSError(errno.ENOSPC, "No space left on device")

    if stale:
        checkpoints.save_tensors = full
    running.step()
    keeper.checkpoint(running)
    with pytest.raises(
        RunFailed, match=r"weights-00001-of-00002\.safetensors: cannot write: the disk is full"
    ):
        keeper.finish(running)
    assert CheckpointStore(run, 9).newest(print).manifest.images_seen == 24
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1])
