"""One rank that trains the toy families of `tests.toy_families` under every engine, through what `hrgan
train` puts together, and goes on under another engine from what one has saved."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from launch.assembly.dataset import open_data, stream_of, trained_spec
from launch.assembly.trainer import assemble
from pipeline.config.load import load_config
from pipeline.config.run import RunConfig
from pipeline.contracts import Process
from pipeline.engines.process import from_first, start_process, stop_process
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.positions import Position
from pipeline.training.state import RankShare, put_back, take
from pipeline.training.trainer import Trainer
from tests.toy_families import TOYS

ENGINES = {
    "replicated": ["engine.kind=replicated"],
    "bucketed": ["engine.kind=replicated", "engine.bucket_mb=0.0001"],
    "zero0": ["engine.kind=zero", "engine.stage=0"],
    "zero1": ["engine.kind=zero", "engine.stage=1"],
    "zero2": ["engine.kind=zero", "engine.stage=2"],
}
SAVED_AFTER, STEPS = 3, 5


def config_of(folder: Path, name: str, kind: str) -> RunConfig:
    overrides = [f"data.path={folder / 'fields'}", *ENGINES[kind]]
    if TOYS[name].needs.second:
        overrides.append(f"data.second={folder / 'second'}")
    return load_config(folder / "c.yaml", overrides)


def begun(config: RunConfig, name: str, process: Process, groups=None) -> Trainer:
    sets = open_data(config)
    family = TOYS[name](config.family, trained_spec(config, sets), batch_size=config.batch.size)
    trainer = assemble(family, process, seed=config.seed, settings=config.engine)
    if groups is not None:
        put_back(trainer, groups)
    trainer.stream = stream_of(config, sets, family, process, trainer.progress.images_seen)
    return trainer


def finish(out: Path, trainer: Trainer) -> None:
    """Ranks must hold the same weights; the first writes all that a checkpoint would hold."""
    for net, module in trainer.networks.items():
        for key, value in module.state_dict().items():
            assert torch.equal(from_first(value, trainer.engine.process), value), (out, net, key)
    found = {f"{g}/{k}": v for g, tensors in take(trainer).items() for k, v in tensors.items()}
    if trainer.engine.process.is_first:
        torch.save(found, out)


def save(run: Path, trainer: Trainer) -> None:
    process, store = trainer.engine.process, CheckpointStore(run, 1)
    groups = take(trainer, RankShare(trainer.networks, process).holds)
    store.write_share(groups, 1, rank=process.rank, ranks=process.world_size)
    if process.is_first:
        store.publish(Position(1, 1, process.world_size, ""), ranks=process.world_size)
    from_first(None, process)  # it is there before others go on from it


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    world = process.world_size
    for name in TOYS:
        for kind in ENGINES:
            config, run = config_of(folder, name, kind), folder / f"{name}-{kind}-x{world}"
            trainer = begun(config, name, process)
            for step in range(STEPS):
                if step == SAVED_AFTER:
                    save(run, trainer)
                trainer.step()
            finish(folder / f"{run.name}.pt", trainer)
        for saver, other in (("replicated", "zero2"), ("zero1", "replicated"), ("zero2", "zero2")):
            groups = CheckpointStore(folder / f"{name}-{saver}-x{world}", 1).newest(print).load()
            trainer = begun(config_of(folder, name, other), name, process, groups)
            for _ in range(STEPS - SAVED_AFTER):
                trainer.step()
            finish(folder / f"{name}-{saver}-into-{other}-x{world}.pt", trainer)
    stop_process()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
