"""One training step for every family: phases in turn, gradients through the engine, then the average."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch

from pipeline.contracts import NETS, Batch, Engine, Family, Networks, Phase, Stage, StepReport
from pipeline.errors import UserError
from pipeline.float32 import Tf32, of_turn
from pipeline.randomness import SampleRandomness, derive_seed, seed_everything
from pipeline.training.ema import Averager
from pipeline.training.meters import Means, Meters
from pipeline.training.progress import Progress
from pipeline.training.turns import Graphs, Turn, Turns

Reals = list[list[Batch]]
"""The reals of one step: for each order of the data (`Phase.own_reals`), the batch of each turn."""


class Stream(Protocol):
    """Where real images come from."""

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        """Returns this rank's part of the next `times` global batches of `batch_size` images each.

        resolution: the side of the images in pixels; None for the data's own.
        """
        ...

    @property
    def others(self) -> Stream:
        """Another order of the same images, which begins at the position where this one began."""
        ...

    @property
    def damaged(self) -> int:
        """How many images this rank has skipped because they were damaged."""
        ...

    @property
    def retries(self) -> int:
        """How many requests to a store this rank had to make again."""
        ...


class Trainer:
    """Joins family, engine and stream into `step`.

    seed: the seed of the run. micro: the most images that this rank holds at once; None for all of them.
    tf32: which operations may use TF32. graphs: how phases that come every step are captured; None if they
    are not. `meters` accumulate the stats of each step, averaged over ranks. `waited_seconds` is how long
    this rank has waited for reals.
    """

    def __init__(
        self,
        family: Family,
        networks: Networks,
        engine: Engine,
        stream: Stream | None = None,
        *,
        seed: int,
        micro: int | None = None,
        tf32: Tf32 = "off",
        graphs: Graphs | None = None,
    ) -> None:
        self.family, self.networks, self.engine = family, networks, engine
        self._stream = stream
        self._fetched: Reals | Exception | None = None
        self.progress = Progress()
        self.averager = Averager(networks.generator)
        self.meters = Meters()
        self.wants_stop = False
        self.waited_seconds = 0.0
        self.around: Callable[[Phase], AbstractContextManager[object]] = lambda phase: nullcontext()
        """A context manager that is entered around each turn of a phase and its update, for measurements."""
        self._seed, self._micro, self._tf32 = seed, micro, tf32
        self._turns = Turns(family, networks, engine, graphs)
        for phase in family.phases:
            assert any(p.requires_grad for p in networks[phase.trains].parameters()), (
                f"{phase.name} trains nobody"
            )
        device = engine.process.device
        self.bad_updates = torch.zeros(len(family.phases), device=device)  # in a row, of each phase
        self.stop_votes = torch.zeros((), device=device)  # share of ranks that asked to stop

    @property
    def stream(self) -> Stream:
        """Where reals come from. It is set once the position is known, after a checkpoint was restored."""
        assert self._stream is not None, "the trainer has no stream yet"
        return self._stream

    @stream.setter
    def stream(self, stream: Stream) -> None:
        self._stream = stream

    def step(self) -> None:
        """Performs one step: every phase that is due, with its repeats, then the average and the position."""
        stage = self.family.schedule.at(self.progress.images_seen)
        self._enter(stage)
        due = self._due()
        reals = self._take_fetched()
        stats = Means()
        for phase in due:
            with only_trainable(self.networks, phase), of_turn(self._tf32, exact=phase.exact):
                for turn in range(phase.repeats):
                    with self.around(phase):
                        self._turn(phase, stage, turn, reals[phase.own_reals][turn], stats)
        images = stage.batch_size * len(reals[0])
        self._share(stats, images)
        self.averager.update(stage.ema_beta)
        self.progress.advance(images)

    def fetch(self) -> None:
        """Draws the reals of the next step, unless that has been done. An error is raised only in that step,
        so that everything that is due before it is still saved."""
        if self._fetched is None:
            before = time.perf_counter()
            try:
                self._fetched = self._draw()
            except Exception as error:
                self._fetched = error
            self.waited_seconds += time.perf_counter() - before

    def _take_fetched(self) -> Reals:
        self.fetch()
        fetched, self._fetched = self._fetched, None
        if isinstance(fetched, Exception):
            raise fetched
        assert fetched is not None
        return fetched

    def _draw(self) -> Reals:
        stage = self.family.schedule.at(self.progress.images_seen)
        times = max(phase.repeats for phase in self._due())
        stream = self.stream
        reals = [stream.draw(stage.batch_size, times, resolution=stage.resolution)]
        # For phases that are not due as well, so that all orders stay at the same position.
        for _ in range(max(phase.own_reals for phase in self.family.phases)):
            stream = stream.others
            reals.append(stream.draw(stage.batch_size, times, resolution=stage.resolution))
        return reals

    def _due(self) -> list[Phase]:
        step, seen = self.progress.step, self.progress.images_seen
        return [phase for phase in self.family.phases if step % phase.every == 0 and seen >= phase.begins]

    def _enter(self, stage: Stage) -> None:
        # All our random numbers come from seeded streams; this fixes what a library might draw besides.
        seed_everything(derive_seed(self._seed, "step", self.progress.images_seen))
        if stage.growth != self.progress.growth:
            for net in NETS:
                self.engine.reset(net)
            self.progress.growth = stage.growth

    def _turn(self, phase: Phase, stage: Stage, turn: int, reals: Batch, stats: Means) -> None:
        micros = micro_batches(len(reals), self._micro)
        for micro in range(micros):
            part = _every(reals, micro, micros)
            randomness = self._randomness(phase, stage, turn, micro, micros)
            stats.add(self._turns.play(Turn(phase, stage, micros, micro == micros - 1), part, randomness))
        net = phase.trains
        report = self.engine.step(net, stage.rates[net], stage.adam_beta2.get(net))
        if phase.settle is not None:
            phase.settle(self.networks[net])
        self._note(phase, report, stats)

    def _randomness(self, phase: Phase, stage: Stage, turn: int, micro: int, micros: int) -> SampleRandomness:
        # Rank r of W and micro-batch m of M hold the global samples r + W * (m + M * i): interleaved,
        # as the stream deals them, so that strided groups are the same for any W and M.
        process = self.engine.process
        first = process.rank + process.world_size * micro
        positions = range(first, stage.batch_size, process.world_size * micros)
        start = self.progress.images_seen + turn * stage.batch_size
        seeds = [derive_seed(self._seed, phase.name, start + position) for position in positions]
        return SampleRandomness(seeds, process.device)

    def _note(self, phase: Phase, report: StepReport, stats: Means) -> None:
        skipped = (~report.finite).float()
        self.bad_updates[self.family.phases.index(phase)].add_(1).mul_(skipped)
        stats.add({f"gradient_norm/{phase.name}": report.gradient_norm, "skipped_updates": skipped})

    def _share(self, stats: Means, images: int) -> None:
        asked = torch.full((), float(self.wants_stop), device=self.engine.process.device)
        shared = self.engine.mean({**stats.means(), "stop": asked})
        self.stop_votes = shared.pop("stop")
        self.family.observe(self.networks, shared, images)
        self.meters.add(shared)


def micro_batches(images: int, most: int | None) -> int:
    """Returns the least number of equal parts into which `images` can be split so that none exceeds `most`.

    most: None for no limit. Raises UserError if there is no image.
    """
    if images < 1:
        raise UserError("batch.size: every process needs at least one image a step")
    parts = 1
    while most is not None and (images % parts or images // parts > most):
        parts += 1
    return parts


def _every(batch: Batch, start: int, stride: int) -> Batch:
    return batch.map(lambda tensor: tensor[start::stride])


@contextmanager
def only_trainable(networks: Networks, phase: Phase) -> Iterator[None]:
    """Inside, only the parameters of `phase.trains` receive gradients; parameters that were frozen before
    stay frozen."""
    others: Sequence[torch.nn.Parameter] = [
        parameter
        for net, module in networks.items()
        if net != phase.trains
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
