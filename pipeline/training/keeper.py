"""The files of a run: checkpoints, snapshots and pictures of samples, written by rank 0."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from pipeline.config.load import digest
from pipeline.config.run import RunConfig
from pipeline.data.index import ShardIndex
from pipeline.storage.background import BackgroundWriter
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.pictures import compose_grid, write_picture
from pipeline.storage.snapshots import write_snapshot
from pipeline.training.report import Report
from pipeline.training.state import copied, take
from pipeline.training.trainer import Trainer

_AT_ONCE = 8  # samples drawn together for a grid, to bound memory at 1024px


@dataclass(frozen=True)
class RunKeeper:
    """Writes into `run` on rank 0; other ranks only hand over what theirs alone holds.

    With `checkpoints.background`, a checkpoint is copied while training waits and written while it goes on.
    """

    run: Path
    config: RunConfig
    index: ShardIndex
    classes: tuple[str, ...]
    _writer: BackgroundWriter = field(default_factory=BackgroundWriter)

    def checkpoint(self, trainer: Trainer) -> None:
        process = trainer.engine.process
        groups = take(trainer)  # on every rank: the engine may have to gather
        if not process.is_first:
            return
        store = CheckpointStore(self.run, self.config.checkpoints.keep)
        background = self.config.checkpoints.background
        save = partial(
            store.save,
            copied(groups) if background else groups,
            images_seen=trainer.progress.images_seen,
            step=trainer.progress.step,
            world_size=process.world_size,
            config_digest=digest(self.config),
        )
        if background:
            self._writer.submit(save)
        else:
            save()

    def check(self) -> None:
        self._writer.check()

    def finish(self) -> None:
        self._writer.finish()

    def snapshot(self, trainer: Trainer, report: Report | None) -> None:
        process, progress = trainer.engine.process, trainer.progress
        if not process.is_first:
            return
        write_snapshot(
            self.run,
            trainer.averager.average.state_dict(),
            family=self.config.family,
            spec=trainer.family.spec,
            classes=self.classes,
            stage=trainer.family.schedule.at(progress.images_seen),
            images_seen=progress.images_seen,
            step=progress.step,
            world_size=process.world_size,
            config_digest=digest(self.config),
            data={"digest": self.index.digest, "count": self.index.count, "origin": dict(self.index.origin)},
            precision=self.config.engine.precision,
        )
        self._samples(trainer, report)

    def _samples(self, trainer: Trainer, report: Report | None) -> None:
        images_seen = trainer.progress.images_seen
        count = self.config.snapshots.grid
        columns = grid_columns(count, trainer.family.spec.classes)
        picture = compose_grid(draw_grid(trainer, count), columns)
        write_picture(self.run / "samples" / f"{images_seen:012d}.png", picture)
        if report is not None:
            report.picture("samples", picture, images_seen)


def grid_columns(count: int, classes: int = 0) -> int:
    """Columns of a grid of `count` images: about twice as wide as high, or one column a class."""
    return classes if 0 < classes <= 32 else math.ceil(math.sqrt(2 * count))


@torch.no_grad()
def draw_grid(trainer: Trainer, count: int) -> torch.Tensor:
    """`count` samples [count, C, H, W] of the averaged generator from the fixed seeds 0, 1, ...; a
    conditional one goes through its classes in turn."""
    stage = trainer.family.schedule.at(trainer.progress.images_seen)
    sampler = trainer.family.sampler(trainer.averager.average, stage)
    classes = trainer.family.spec.classes
    parts = []
    for first in range(0, count, _AT_ONCE):
        seeds = range(first, min(first + _AT_ONCE, count))
        labels = [seed % classes for seed in seeds] if classes else None
        parts.append(sampler.draw(seeds, classes=labels).images.float().cpu())
    return torch.cat(parts)
