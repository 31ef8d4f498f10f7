"""One rank of the engine matrix: trains every tiny family under every engine, saves on the way, and goes on
from what other engines and other numbers of ranks have saved. See `tools/torture/engine_matrix.py`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.contracts import Engine, Process, SGDRule
from pipeline.engines.process import from_first, start_process, stop_process
from pipeline.engines.replicated import Replicated
from pipeline.engines.zero import Zero
from pipeline.errors import UserError
from pipeline.models.layers import recompute_blocks
from pipeline.models.registry import low_precision_of
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.positions import Position
from pipeline.storage.tensors import save_tensors
from pipeline.training.state import RankShare, put_back, take
from pipeline.training.trainer import Trainer
from tools.tiny_families import DigitStream, tiny_family, tiny_trainer

KINDS = ("replicated", "bucketed", "zero0", "zero1", "zero2")
SAVERS = (("replicated", 1), ("replicated", 2), ("replicated", 4), ("zero1", 2), ("zero2", 2), ("zero2", 4))
CONTROL = "last bit"
VARIANTS = ("recompute", "bfloat16", "micro")
STEPS, SAVED_AFTER = 5, 3  # lazy phases fall due at steps 0, 2 and 4; a network that grows does at 2
_EPSILON = 1e-3


def make_engine(kind: str, process: Process) -> Engine:
    """Returns an engine by its name in the tables, with buckets so small that every network has several."""
    if kind.startswith("zero"):
        return Zero(process, int(kind[-1]))  # type: ignore[arg-type]
    return Replicated(process, bucket_mb=0.001 if kind == "bucketed" else 0)


def make_trainer(name: str, kind: str, process: Process, variant: str = "") -> Trainer:
    """Returns a trainer of a tiny family under an engine. Adam's epsilon is raised, because Adam would
    otherwise turn gradients that are only rounding (biases ahead of a normalisation) into whole steps."""
    low = low_precision_of("bfloat16" if variant == "bfloat16" else "float32")
    family = tiny_family(name, low_precision=low)
    family.optimizers = {
        net: rule if isinstance(rule, SGDRule) else replace(rule, eps=_EPSILON)
        for net, rule in family.optimizers.items()
    }
    micro = 2 if variant == "micro" else None
    trainer = tiny_trainer(family, engine=make_engine(kind, process), micro=micro)
    networks = (trainer.networks.generator, trainer.networks.discriminator)
    if variant == "recompute" and not sum(recompute_blocks(network) for network in networks):
        raise UserError(f"{name}: has no blocks that can be computed again")
    return trainer


@torch.no_grad()
def nudge(trainer: Trainer, kind: torch.dtype) -> None:
    """Moves every weight by the last bit that `kind` holds, which shows what rounding alone does to a run."""
    generator = torch.Generator().manual_seed(0)
    for network in (trainer.networks.generator, trainer.networks.discriminator, trainer.averager.average):
        for parameter in network.parameters():
            sign = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.mul_(1 + sign * torch.finfo(kind).eps)


def check_and_keep(trainer: Trainer, path: Path) -> None:
    """Checks that all ranks hold the same to the bit; the first one writes it."""
    process = trainer.engine.process
    tensors_saved = {
        f"{g}/{k}": v.contiguous() for g, tensors in take(trainer).items() for k, v in tensors.items()
    }
    for name, value in tensors_saved.items():
        if not torch.equal(from_first(value, process), value):
            raise RuntimeError(f"{path.stem}: rank {process.rank} holds another {name} than the first rank")
    if process.is_first:
        save_tensors(path, tensors_saved)


def save(trainer: Trainer, run: Path) -> None:
    """Saves as a run does: every rank writes its part."""
    process, store = trainer.engine.process, CheckpointStore(run, 1)
    groups = take(trainer, RankShare(trainer.networks, process).holds)
    images, ranks = trainer.progress.images_seen, process.world_size
    store.write_share(groups, images, rank=process.rank, ranks=ranks)
    if process.is_first:
        store.publish(Position(images, trainer.progress.step, ranks, ""), ranks=ranks)


def train(out: Path, process: Process, families: list[str]) -> None:
    """Trains from the start to the end under every engine."""
    world = process.world_size
    for name in families:
        for kind in KINDS:
            trainer = make_trainer(name, kind, process)
            for step in range(STEPS):
                if step == SAVED_AFTER and (kind, world) in SAVERS:
                    save(trainer, out / f"{name}-{kind}-x{world}")
                trainer.step()
            check_and_keep(trainer, out / f"train-{name}-{kind}-x{world}.safetensors")
            if world <= 2:
                vary(out, process, name, kind)
        if world == 1:
            control(out, process, name)


def vary(out: Path, process: Process, name: str, kind: str) -> None:
    """Makes one step of each variant that the family offers."""
    for variant in VARIANTS:
        with suppress(UserError):
            trainer = make_trainer(name, kind, process, variant)
            trainer.step()
            check_and_keep(trainer, out / f"{variant}-{name}-{kind}-x{process.world_size}.safetensors")


def control(out: Path, process: Process, name: str) -> None:
    """Does the same in one process whose first weights differ in their last bit."""
    for variant in ("train", *VARIANTS):
        with suppress(UserError):
            trainer = make_trainer(name, "replicated", process, variant)
            nudge(trainer, torch.bfloat16 if variant == "bfloat16" else torch.float32)
            for _ in range(STEPS if variant == "train" else 1):
                trainer.step()
            check_and_keep(trainer, out / f"{variant}-{name}-{CONTROL}-x1.safetensors")


def go_on(out: Path, process: Process, families: list[str]) -> None:
    """Continues from each checkpoint to the end under every engine."""
    for name in families:
        for saver, saved_world in SAVERS:
            checkpoint = CheckpointStore(out / f"{name}-{saver}-x{saved_world}", 1).newest(print)
            if checkpoint is None:
                continue  # a number of ranks that was left out; its cells stay empty
            groups = checkpoint.load()
            for kind in KINDS:
                trainer = make_trainer(name, kind, process)
                put_back(trainer, groups)
                position = trainer.progress.images_seen
                trainer.stream = DigitStream(trainer.family.spec, position, process)
                while trainer.progress.step < STEPS:
                    trainer.step()
                place = f"load-{name}-{saver}-x{saved_world}-{kind}-x{process.world_size}"
                check_and_keep(trainer, out / f"{place}.safetensors")


def main() -> None:
    """Runs `python -m tools.torture.matrix_ranks OUT train|load FAMILY...` as one rank of a group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("part", choices=["train", "load"])
    parser.add_argument("families", nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    process = start_process("cpu")
    (train if arguments.part == "train" else go_on)(arguments.out, process, arguments.families)
    if dist.is_initialized():
        dist.barrier()
    stop_process()


if __name__ == "__main__":
    main()
