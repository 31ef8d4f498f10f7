"""A run from its first step to its last: steps and, between them, ticks, snapshots and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.config.run import RunConfig
from pipeline.errors import RunFailed
from pipeline.training.flags import Flags
from pipeline.training.progress import crossed
from pipeline.training.report import Report, stage_figures
from pipeline.training.stop import StopRequest
from pipeline.training.trainer import Trainer
from pipeline.words import keep_quiet, patiently


class Keeper(Protocol):
    """Writes the files of a run. All ranks call its methods, in the same order."""

    def checkpoint(self, trainer: Trainer, report: Report | None = None) -> None:
        """Writes everything needed to continue, after what `report` has written is safely on disk."""
        ...

    def snapshot(self, trainer: Trainer, report: Report | None) -> None:
        """Writes the averaged generator and a picture of its samples."""
        ...

    @property
    def failed(self) -> bool:
        """Whether something that this rank writes in the background has failed."""
        ...

    def finish(self, trainer: Trainer) -> None:
        """Waits until everything is on disk. If writing failed on any rank, raises the error on all ranks."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Where a run ended, and why.

    images_seen: the run's position at its end. stopped_by: what interrupted the run before its length, or
    None. ended_by: why the run counts as finished before its length, known only on the rank that asked for
    the reason; otherwise None.
    """

    images_seen: int
    stopped_by: str | None
    ended_by: str | None = None


class Loop:
    """Runs `trainer` to `config.length.images` or until all ranks agree to stop.

    report: None on ranks that do not write. end: is called once per tick on the rank that writes; it returns
    the reason to end the run, as finished, before its length, or None.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: RunConfig,
        keeper: Keeper,
        report: Report | None,
        stop: StopRequest,
        end: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._end, self._ended = end, False
        self._why: str | None = None
        self._trainer, self._config, self._keeper = trainer, config, keeper
        self._report, self._stop = report, stop
        self._reported = (0.0, 0.0)  # seconds waited for images, and retries
        self._paused = 0.0  # seconds since the last tick in which this rank did not train
        self._flags = Flags(trainer.engine.process.device)

    def run(self) -> Outcome:
        """Trains, and saves what the configuration asks for on the way and at the end."""
        progress, total = self._trainer.progress, self._config.length.images
        if progress.images_seen == 0:
            with self._pausing(), self._patiently("making the first samples"):
                self._keeper.snapshot(self._trainer, self._report)
        stopped, begun = False, False
        self._look_for_end()
        while not (progress.images_seen >= total or stopped or self._ended):
            before = progress.images_seen
            # A rank that could not write asks to stop: all meet at the next checkpoint, and end there
            # together.
            self._trainer.wants_stop = self._stop.reason is not None or self._keeper.failed
            if not begun:
                with self._pausing(), self._patiently("waiting for the first images"):
                    self._trainer.fetch()
            with nullcontext() if begun else self._patiently("the first step"):
                self._trainer.step()
            begun = True
            if progress.images_seen < total:
                self._trainer.fetch()  # while the device is still computing this step
            stopped = self._agreed_stop()
            self._between(before, stopped or progress.images_seen >= total)
        self._keeper.finish(self._trainer)
        finished = progress.images_seen >= total or self._ended
        return Outcome(progress.images_seen, None if finished else self._reason(), self._why)

    def _patiently(self, what: str) -> AbstractContextManager[None]:
        return patiently(f"hrgan: {what}", keep_quiet if self._report is None else self._report.say)

    @contextmanager
    def _pausing(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self._paused += time.perf_counter() - before

    def _reason(self) -> str:
        return self._stop.reason or "another process"

    def _agreed_stop(self) -> bool:
        trainer = self._trainer
        flags = self._flags.exchange(torch.stack([trainer.stop_votes, trainer.bad_updates.max()]))
        if flags is None:
            return False
        votes, bad = flags
        if bad >= self._config.engine.bad_steps:
            self._keeper.finish(self._trainer)
            raise RunFailed(
                f"{int(bad)} updates in a row of one phase had gradients that are not finite, up to "
                f"{self._trainer.progress.images_seen} images; the last checkpoint is whole. "
                "Lower the learning rates or use engine.precision=float32, then start again"
            )
        return bool(votes > 0)

    def _between(self, before: int, last: bool) -> None:
        progress, config = self._trainer.progress, self._config
        now = progress.images_seen
        self._when(last or crossed(before, now, config.report.every_images), self._tick)
        last = last or self._ended
        finished = now >= config.length.images or self._ended
        with self._pausing():
            self._when(
                finished or crossed(before, now, config.snapshots.every_images),
                lambda: self._keeper.snapshot(self._trainer, self._report),
            )
            self._when(
                last or crossed(before, now, config.checkpoints.every_images),
                lambda: self._keeper.checkpoint(self._trainer, self._report),
            )
        if self._report is not None:
            self._report.advance(now)

    @staticmethod
    def _when(due: bool, act: Callable[[], None]) -> None:
        if due:
            act()

    def _tick(self) -> None:
        progress = self._trainer.progress
        now = {name: float(value) for name, value in self._trainer.family.figures().items()}
        stage = stage_figures(self._trainer.family.schedule.at(progress.images_seen))
        figures = {**self._trainer.meters.flush(), **now, **stage, **self._of_data()}
        figures["speed/pause_seconds"], self._paused = self._paused, 0.0
        if self._report is not None:
            self._report.tick(progress.images_seen, progress.step, figures)
        self._look_for_end()

    def _look_for_end(self) -> None:
        """Passes on to all ranks the reason to end, which one rank has been given."""
        if self._config.stop.metric is None or self._ended:
            return
        self._why = self._end() if self._report is not None else None
        self._ended = self._trainer.engine.any(self._why is not None)
        if self._report is not None and self._why is not None:
            self._report.say(f"the run ends here: {self._why}")

    def _of_data(self) -> dict[str, float]:
        """Returns how long the rank that waited longest for images did so since the last tick, and, if there
        were any, the images skipped since this start and the requests to stores made again since the last
        tick, of all ranks."""
        trainer, engine = self._trainer, self._trainer.engine
        process = engine.process
        now = (trainer.waited_seconds, float(trainer.stream.retries))
        waited, retries = (new - old for new, old in zip(now, self._reported, strict=True))
        self._reported = now
        waits = torch.zeros(process.world_size, device=process.device)
        waits[process.rank] = waited
        counts = torch.tensor([float(trainer.stream.damaged), retries], device=process.device)
        means = engine.mean({"waits": waits, "counts": counts})
        skipped, again = (round(float(mean) * process.world_size) for mean in means["counts"])
        figures = {"speed/data_wait_seconds": float(means["waits"].max()) * process.world_size}
        if skipped:
            figures["data/damaged_images"] = skipped
        if again:
            figures["store/retries"] = again
        return figures
