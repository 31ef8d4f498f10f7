"""Writes the files of a run: checkpoints on all ranks, snapshots and pictures of samples on the first."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from pipeline.config.load import digest
from pipeline.config.run import RunConfig
from pipeline.contracts import Classifier, Process, Reconstructor, Translator
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import NumberedSamples, over
from pipeline.engines.process import from_all
from pipeline.errors import RunFailed, UserError
from pipeline.images.pictures import compose_grid, write_picture
from pipeline.storage.averages import kept_average
from pipeline.storage.background import BackgroundWriter
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.storage.lineage import Lineage
from pipeline.storage.positions import Position
from pipeline.storage.snapshots import write_snapshot
from pipeline.training.pictures import (
    STRIP,
    draw_grid,
    draw_pairs,
    draw_strip,
    draw_translations,
    grid_columns,
    originals,
)
from pipeline.training.report import Report
from pipeline.training.state import Groups, RankShare, copied, take
from pipeline.training.trainer import Trainer

_TELL_SECONDS = 60


@dataclass(frozen=True)
class RunKeeper:
    """Writes checkpoints, snapshots and pictures into the folder `run`.

    With `checkpoints.background`, a rank's share of a checkpoint is copied while training waits and written
    while training goes on.
    index: the index of the data set. classes: the names of its classes. attempt: the name of this start of
    the run, equal on all ranks. second: the index of the second data set, for families that train on two.
    lineage: the runs that this one goes on from.
    """

    run: Path
    config: RunConfig
    index: ShardIndex
    classes: tuple[str, ...]
    attempt: str = ""
    second: ShardIndex | None = None
    lineage: Lineage = ()
    _writer: BackgroundWriter = field(default_factory=BackgroundWriter)
    _originals: list[Tensor] = field(default_factory=list)  # those of pictures, once they have been read

    def checkpoint(self, trainer: Trainer, report: Report | None = None) -> None:
        self.finish(trainer)
        share = RankShare(trainer.networks, trainer.engine.process, len(trainer.tracked))
        groups = take(trainer, share.holds)
        background = self.config.checkpoints.background
        self._writer.submit(self._job(trainer, copied(groups) if background else groups, report))
        if not background:
            self.finish(trainer)

    def _job(self, trainer: Trainer, groups: Groups, report: Report | None) -> Callable[[], None]:
        process, progress = trainer.engine.process, trainer.progress
        ranks = process.world_size
        position = Position(progress.images_seen, progress.step, ranks, digest(self.config))
        store = CheckpointStore(self.run, self.config.checkpoints.keep, self.attempt)

        def write() -> None:
            store.write_share(groups, position.images_seen, rank=process.rank, ranks=ranks)
            if process.is_first:
                if report is not None:
                    report.sync()
                store.publish(position, ranks=ranks, lineage=self.lineage, given_up=self._writer.given_up)

        return write

    @property
    def failed(self) -> bool:
        return self._writer.error is not None

    def finish(self, trainer: Trainer) -> None:
        # Ranks exchange their status from the main thread, so that none waits alone for one that has failed.
        engine, since = trainer.engine, time.monotonic()
        while True:
            error, busy = self._writer.error, self._writer.busy
            flags = {"failed": error is not None, "busy": busy and error is None}
            device = engine.process.device
            shares = engine.mean({k: torch.full((), float(v), device=device) for k, v in flags.items()})
            if shares["failed"] > 0:
                self._fail(error, engine.process)
            if shares["busy"] == 0:
                self._writer.finish()
                return
            if engine.process.is_first and time.monotonic() - since > _TELL_SECONDS:
                since = time.monotonic()
                waited = round(float(shares["busy"]) * engine.process.world_size)
                line = f"waiting for {waited} processes to write their part of a checkpoint"
                with suppress(OSError):  # a terminal that is gone must not cost the checkpoint
                    print(line, file=sys.stderr)
            time.sleep(0.01)

    def _fail(self, error: BaseException | None, process: Process) -> NoReturn:
        """Raises an error with the same line on every rank. The rank on which an unexpected exception was
        raised raises that one, with its traceback."""
        self.give_up()
        why = None if error is None else (type(error).__name__, str(error))
        kind, text = next(reason for reason in from_all(why, process) if reason is not None)
        for known in (UserError, RunFailed):
            if kind == known.__name__:
                raise known(text) from error
        raise error or RunFailed(f"another process could not write its part of a checkpoint: {kind}: {text}")

    def give_up(self) -> None:
        """Stops waiting for other ranks' parts of a checkpoint, which is then not published."""
        self._writer.given_up.set()

    def snapshot(self, trainer: Trainer, report: Report | None) -> None:
        process, progress = trainer.engine.process, trainer.progress
        if not process.is_first:
            return
        weights = trainer.averager.average.state_dict()
        tracked = trainer.tracked.at(progress.images_seen) if self.config.averages.stored else {}
        write_snapshot(
            self.run,
            weights,
            family=self.config.family,
            spec=trainer.family.spec,
            classes=self.classes,
            stage=trainer.family.schedule.at(progress.images_seen),
            images_seen=progress.images_seen,
            step=progress.step,
            world_size=process.world_size,
            config_digest=digest(self.config),
            data=self._data(),
            precision=self.config.engine.computed,
            fixtures=self.config.fixtures,
            averages=[kept_average(kind, average, weights) for kind, average in tracked.items()],
            lineage=self.lineage,
        )
        self._samples(trainer, report)

    def _data(self) -> dict[str, Any]:
        first, *others = (
            {"digest": index.digest, "count": index.count, "origin": dict(index.origin)}
            for index in (self.index, self.second)
            if index is not None
        )
        return {**first, "second": others[0]} if others else first

    def _samples(self, trainer: Trainer, report: Report | None) -> None:
        images_seen = trainer.progress.images_seen
        count, classes = self.config.snapshots.grid, trainer.family.spec.classes
        stage = trainer.family.schedule.at(images_seen)
        sampler = trainer.family.sampler(trainer.averager.average, stage)
        unlabelled = self.second if isinstance(sampler, Classifier) else None
        sampler = over(sampler, unlabelled or self.index)
        picture = compose_grid(draw_grid(sampler, count, classes), grid_columns(count, classes))
        write_picture(self.run / "samples" / f"{images_seen:012d}.png", picture)
        if isinstance(sampler, Translator):
            self._translations(sampler, images_seen, report)
        if isinstance(sampler, Reconstructor):
            self._reconstructions(sampler, trainer, report)
        if report is None or not report.has_pictures:
            return
        report.picture("samples", picture, images_seen)
        strip = draw_strip(sampler, STRIP)
        if strip is not None:
            report.picture("samples/interpolation", compose_grid(strip, STRIP), images_seen)

    def _translations(self, sampler: Translator, images_seen: int, report: Report | None) -> None:
        count = max(self.config.snapshots.grid // 3, 1)
        given = NumberedSamples(self.index, sampler.fields).batch(range(min(count, self.index.count)))
        picture = compose_grid(draw_translations(sampler, given), 3 * math.ceil(math.sqrt(count / 3)))
        write_picture(self.run / "samples" / f"{images_seen:012d}-translations.png", picture)
        if report is not None:
            report.picture("translations", picture, images_seen)

    def _reconstructions(self, sampler: Reconstructor, trainer: Trainer, report: Report | None) -> None:
        images_seen, count = trainer.progress.images_seen, max(self.config.snapshots.grid // 2, 1)
        if not self._originals:
            images = originals(self.index, self.config, count)
            self._originals.append(images.to(trainer.engine.process.device))
        picture = compose_grid(draw_pairs(sampler, *self._originals), 2 * math.ceil(math.sqrt(count)))
        write_picture(self.run / "samples" / f"{images_seen:012d}-reconstructions.png", picture)
        if report is not None:
            report.picture("reconstructions", picture, images_seen)
