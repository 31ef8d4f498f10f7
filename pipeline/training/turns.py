"""The arithmetic of a phase as a function of buffers: reals, random numbers, the stage's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pipeline.contracts import Batch, Engine, Family, Networks, Phase, Randomness, Stage
from pipeline.training.chance import Drawn, Noted, Request, draw

Stats = dict[str, Tensor]
Run = Callable[[], Stats]


class Graphs(Protocol):
    """A way to repeat the same arithmetic on the current content of its buffers, without running Python."""

    def warm(self, run: Run) -> Stats:
        """Runs `run` once, in the way in which it will be captured."""
        ...

    def capture(self, run: Run) -> Run | None:
        """Captures `run` without executing it, and returns a function that does; the stats that this returns
        are not changed by later calls. Returns None if `run` cannot be captured."""
        ...


@dataclass(frozen=True)
class Turn:
    """The turn of a phase on one of `micros` micro-batches. last: whether it is the last of them."""

    phase: Phase
    stage: Stage
    micros: int = 1
    last: bool = True


@dataclass(frozen=True)
class Inputs:
    """The inputs of a turn besides the networks' weights and the family's memory.

    reals: the micro-batch. numbers: the random numbers, in the order in which they are used. moving: the
    weights of the stage and, below 1, its fade.
    """

    reals: Batch
    numbers: Sequence[Tensor]
    moving: Mapping[str, Tensor]

    def copy(self) -> Inputs:
        """Returns a copy in memory of its own."""
        return Inputs(
            self.reals.map(Tensor.clone),
            [number.clone() for number in self.numbers],
            {name: value.clone() for name, value in self.moving.items()},
        )

    def take(self, others: Inputs) -> None:
        """Overwrites the values with those of `others`."""
        torch._foreach_copy_(self._tensors(), others._tensors())

    def _tensors(self) -> list[Tensor]:
        return [*self.reals.tensors(), *self.numbers, *self.moving.values()]


class Turns:
    """Plays turns: computes the loss, and its gradients with `engine.backward`.

    The first turn of a phase under given conditions records which random numbers it asks for; later turns
    draw them beforehand. With `graphs`, the second turn of a phase that comes every step is captured, and
    later turns replay it.
    """

    def __init__(
        self, family: Family, networks: Networks, engine: Engine, graphs: Graphs | None = None
    ) -> None:
        self._family, self._networks, self._engine = family, networks, engine
        self._graphs = graphs
        self._conditions: tuple[object, ...] = ()
        self._requests: dict[object, list[Request]] = {}
        self._captured: dict[object, tuple[Inputs, Run]] = {}

    def play(self, turn: Turn, reals: Batch, randomness: Randomness) -> Stats:
        """Plays `turn`, which adds to the gradients, and returns its stats."""
        self._enter(turn.stage)
        moving = moving_scalars(turn.stage, self._engine.process.device)
        key = turn.phase.name, turn.micros, turn.last, reals.images.shape
        if key not in self._requests:
            noted = Noted(randomness)
            stats = self._warm(turn, lambda: self._compute(turn, reals, noted, moving))
            self._requests[key] = noted.requests
            return stats
        inputs = Inputs(reals, draw(randomness, self._requests[key]), moving)
        replayed = self._replayed(key, turn, inputs)
        return self._on(turn, key, inputs)() if replayed is None else replayed

    def _enter(self, stage: Stage) -> None:
        """Discards what was recorded and captured if the conditions have changed."""
        fading = stage.fade < 1
        conditions = stage.resolution, stage.batch_size, stage.growth, fading, *sorted(stage.weights)
        if conditions != self._conditions:
            self._conditions = conditions
            self._requests.clear()
            self._captured.clear()

    def _warm(self, turn: Turn, run: Run) -> Stats:
        return run() if self._graphs is None or turn.phase.every > 1 else self._graphs.warm(run)

    def _replayed(self, key: object, turn: Turn, inputs: Inputs) -> Stats | None:
        if self._graphs is None or turn.phase.every > 1:
            return None
        if key not in self._captured:
            own = inputs.copy()
            run = self._graphs.capture(self._on(turn, key, own))
            if run is None:  # `capture` has told the user why
                self._graphs = None
                return None
            self._captured[key] = own, run
        held, run = self._captured[key]
        held.take(inputs)
        return run()

    def _on(self, turn: Turn, key: object, inputs: Inputs) -> Run:
        count = len(inputs.reals)

        def run() -> Stats:
            drawn = Drawn(count, self._requests[key], inputs.numbers)
            return self._compute(turn, inputs.reals, drawn, inputs.moving)

        return run

    def _compute(
        self, turn: Turn, reals: Batch, randomness: Randomness, moving: Mapping[str, Tensor]
    ) -> Stats:
        phase = turn.phase
        reals = self._family.codec.encode(reals, randomness)
        game = self._family.game(self._networks, with_scalars(turn.stage, moving), randomness, reals)
        terms = phase.objective(game, game.present(reals))
        loss = terms.loss.mean() * (phase.gain / turn.micros)
        self._engine.backward(phase.trains, loss, last=turn.last)
        return {name: value.detach() for name, value in terms.stats.items()}


def moving_scalars(stage: Stage, device: torch.device) -> dict[str, Tensor]:
    """Returns the numbers of the stage that change from step to step, by name, 0-d float64 on the device."""
    moving = {**stage.weights, "fade": stage.fade} if stage.fade < 1 else dict(stage.weights)
    # `full` is a launch; `tensor` would wait for the device.
    return {
        name: torch.full((), float(value), dtype=torch.float64, device=device)
        for name, value in moving.items()
    }


def with_scalars(stage: Stage, moving: Mapping[str, Tensor]) -> Stage:
    """Returns the stage with its weights and fade replaced by the scalars in `moving`."""
    weights = {name: moving[name] for name in stage.weights}
    return replace(stage, fade=moving.get("fade", stage.fade), weights=weights)
