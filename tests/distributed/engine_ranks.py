"""One rank that trains the toy and a tiny StyleGAN2 under every engine, saves checkpoints, and goes on from
those of every engine and world size."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.contracts import Process
from pipeline.engines.process import from_first, start_process, stop_process
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.training.state import put_back, take
from pipeline.training.trainer import Trainer
from tests.tiny_families import tiny_family, tiny_trainer
from tests.toy import ToyFamily, ToyStream, toy_trainer
from tools.torture.matrix_ranks import make_engine

KINDS = ("replicated", "zero0", "zero1", "zero2")
SAVERS = (("replicated", 1), ("replicated", 2), ("replicated", 4), ("zero1", 2), ("zero2", 2), ("zero2", 4))
BATCH, GROWS_AT = 8, 96  # the toy takes two batches a step: it grows after the sixth
SAVED_AFTER, STEPS = 4, 8  # steps of the toy: before the growth, after it


def successors(saver: int, world: int) -> list[str]:
    """The engines that go on, on so many ranks, from what the saver of that number has left: half of them, so
    that each saver meets every engine and every number of ranks, and each engine every number of ranks. All
    of them meet in `tools.torture.engine_matrix`."""
    return [kind for number, kind in enumerate(KINDS) if (number - saver - world.bit_length()) % 2 == 0]


def trainer_of(process: Process, kind: str) -> Trainer:
    family = ToyFamily(BATCH, grow_at=GROWS_AT, discriminator_repeats=2)
    clipped = [replace(phase, settle=clip) if phase.repeats == 2 else phase for phase in family.phases]
    family.phases = tuple(clipped)
    return toy_trainer(family, engine=make_engine(kind, process), micro=2)


@torch.no_grad()
def clip(network: torch.nn.Module) -> None:
    """As a Wasserstein critic's: the masters of split weights must follow."""
    for parameter in network.parameters():
        parameter.clamp_(-0.2, 0.2)


def finish(out: Path, name: str, trainer: Trainer) -> None:
    """Ranks must hold the same weights; the first writes all that a checkpoint would hold."""
    for net, module in trainer.networks.items():
        for key, value in module.state_dict().items():
            assert torch.equal(from_first(value, trainer.engine.process), value), (name, net, key)
    found = {f"{g}/{k}": v for g, tensors in take(trainer).items() for k, v in tensors.items()}
    if trainer.engine.process.is_first:
        torch.save(found | {"figures": trainer.meters.flush()}, out / f"{name}.pt")


def train_each(out: Path, process: Process) -> None:
    world = process.world_size
    for kind in KINDS:
        trainer = trainer_of(process, kind)
        for step in range(STEPS):
            if step == SAVED_AFTER:
                save(out / f"{kind}-x{world}", trainer)
            trainer.step()
        finish(out, f"toy-{kind}-x{world}", trainer)

        trainer = trainer_of(process, kind)
        for step in range(4):
            bad = process.rank == world - 1 and step == 2
            trainer.stream.factor = float("nan") if bad else 1.0  # type: ignore[attr-defined]
            trainer.step()
        finish(out, f"bad-{kind}-x{world}", trainer)

        if world <= 2:
            family = tiny_family("stylegan2", penalty_method="finite_difference", r2_gamma=1.0)
            trainer = tiny_trainer(family, engine=make_engine(kind, process), micro=2)
            trainer.step()
            finish(out, f"stylegan2-{kind}-x{world}", trainer)


def save(run: Path, trainer: Trainer) -> None:
    groups = take(trainer)
    if trainer.engine.process.is_first:
        CheckpointStore(run, 1).save(groups, images_seen=1, step=1, world_size=1, config_digest="")


def go_on_from_each(out: Path, process: Process) -> None:
    for number, (saver, saved_world) in enumerate(SAVERS):
        run = out / f"{saver}-x{saved_world}"
        deadline = time.monotonic() + 240
        while (found := CheckpointStore(run, 1).newest(print)) is None:
            assert time.monotonic() < deadline, f"{run}: nobody has saved it"
            time.sleep(0.05)
        groups = found.load()
        for kind in successors(number, process.world_size):
            trainer = trainer_of(process, kind)
            put_back(trainer, groups)
            check_equal(take(trainer), groups, process)
            trainer.stream = ToyStream(trainer.progress.images_seen, process.rank, process.world_size)
            for _ in range(STEPS - SAVED_AFTER):
                trainer.step()
            finish(out, f"from-{saver}-x{saved_world}-into-{kind}-x{process.world_size}", trainer)


def check_equal(taken, groups, process: Process) -> None:
    """What was put back is what was saved, to the bit."""
    if not process.is_first:
        return
    assert taken.keys() == groups.keys()
    for group, tensors in groups.items():
        assert taken[group].keys() == tensors.keys(), group
        for name, value in tensors.items():
            assert torch.equal(taken[group][name], value), (group, name)


def main(out: str) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    train_each(Path(out), process)
    go_on_from_each(Path(out), process)
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1])
