"""Our loop with given weights, reals and random numbers; it records what each turn used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from launch.assembly.trainer import assemble
from pipeline.config.families import FamilyConfig
from pipeline.contracts import (
    NETS,
    Batch,
    Game,
    ImageSpec,
    Networks,
    Phase,
    Randomness,
    Stage,
    Terms,
)
from pipeline.models.registry import build_family
from pipeline.training.trainer import Stream
from tools.research.parity.filling import Rule, drawn, normal, uniform

State = dict[str, dict[str, Tensor]]
"""What a loop has become: by quantity, tensors by our names."""


@dataclass(frozen=True)
class LoopSetting:
    """One run of both loops.

    family: the keys of the family's config. spec: that of the images. batch: images per step. rules: those by
    which weights are filled, by our names. order: the turns in the peer's order.
    """

    family: Mapping[str, Any]
    spec: Mapping[str, Any]
    batch: int
    rules: Sequence[Rule]
    order: Sequence[str]

    @property
    def config(self) -> Any:
        """The family's, validated."""
        config: FamilyConfig = TypeAdapter(FamilyConfig).validate_python(dict(self.family))
        return config

    def fill(self, network: nn.Module) -> None:
        """The weights and buffers that both loops start from."""
        with torch.no_grad():
            for name, tensor in network.state_dict(keep_vars=True).items():
                if tensor.is_floating_point():
                    tensor.copy_(drawn(name, tensor.shape, self.rules))


@dataclass(frozen=True)
class Draw:
    """Numbers that a turn asked for. kind: "normal", "uniform" or "integers". values: [N, ...]."""

    kind: str
    values: Tensor


@dataclass(frozen=True)
class TurnInputs:
    """What one turn of a phase used: its reals, as presented, and its random numbers, in order."""

    name: str
    reals: Batch
    draws: list[Draw] = field(default_factory=list)


Step = Callable[[], list[TurnInputs]]
"""Makes our loop go on by a step, and says what its turns used."""
After = Callable[[State], bool]
"""Told what a peer's loop has become after a step; True ends it."""


class Given:
    """Implements contracts.Randomness with numbers that follow from a name. Draws without a shape (where to
    mix styles, whether to) are the same for the whole batch, because the peers draw them so."""

    def __init__(self, name: str, count: int, draws: list[Draw] | None = None) -> None:
        self._name, self.count = name, count
        self.draws: list[Draw] = [] if draws is None else draws

    def normal(self, *shape: int) -> Tensor:
        return self._noted("normal", normal(self._next, (self.count, *shape)))

    def uniform(self, *shape: int) -> Tensor:
        return self._noted("uniform", self._uniform(shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._noted("integers", (self._uniform(shape) * high).long())

    def first(self, count: int) -> Given:
        return Given(self._name, count, self.draws)

    @property
    def _next(self) -> str:
        return f"{self._name}.{len(self.draws)}"

    def _uniform(self, shape: Sequence[int]) -> Tensor:
        if not shape:
            return uniform(self._next, (1,)).expand(self.count)
        return uniform(self._next, (self.count, *shape))

    def _noted(self, kind: str, values: Tensor) -> Tensor:
        self.draws.append(Draw(kind, values))
        return values.clone()


class _Noted:
    """A family whose games draw given numbers, and whose phases, in the peer's order, note what they use."""

    def __init__(self, family: Any, order: Sequence[str], turns: list[TurnInputs]) -> None:
        self._family, self._turns, self._games = family, turns, 0
        named = {phase.name: phase for phase in family.phases}
        self.phases = tuple(self._noting(named[name]) for name in order)
        self._given = Given("", 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        self._given = Given(f"turn.{self._games}", randomness.count)
        self._games += 1
        game: Game = self._family.game(networks, stage, self._given, reals)
        return game

    def _noting(self, phase: Phase) -> Phase:
        def objective(game: Game, reals: Batch) -> Terms:
            self._turns.append(TurnInputs(phase.name, reals, self._given.draws))
            return phase.objective(game, reals)

        return replace(phase, objective=objective)


class Ours:
    """Our trainer with the replicated engine. moved: how far the weights are moved before the first step,
    relative to the size of each tensor."""

    def __init__(self, setting: LoopSetting, moved: float = 0.0) -> None:
        self.setting = setting
        torch.manual_seed(0)
        self.family: Any = build_family(setting.config, ImageSpec(**setting.spec), batch_size=setting.batch)
        self.networks = self.family.networks()
        for net, network in self.networks.items():
            setting.fill(network)
            _move(network, net, moved)
        self._turns: list[TurnInputs] = []
        family: Any = _Noted(self.family, setting.order, self._turns)
        self.trainer = assemble(family, networks=self.networks, stream=self)
        self.damaged = self.retries = self._batches = 0

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        """The next batches; see `training.trainer.Stream`."""
        return [self._batch(batch_size) for _ in range(times)]

    @property
    def others(self) -> Stream:
        """Batches are never the same twice."""
        return self

    def step(self) -> list[TurnInputs]:
        """One step, and what its turns used, in order."""
        self._turns.clear()
        self.trainer.step()
        return list(self._turns)

    def state(self) -> State:
        """Weights, the average, Adam's moments, and what the family remembers."""
        state: State = {net: dict(module.named_parameters()) for net, module in self.networks.items()}
        state["average"] = dict(self.trainer.averager.average.named_parameters())
        for net in NETS:
            for moment in MOMENTS:
                state[f"{net}, {moment}"] = {}
        for name, value in self.trainer.engine.optimizer_state().items():
            player, _, rest = name.partition(".")
            parameter, _, moment = rest.rpartition(".")
            if moment in MOMENTS:
                state[f"{player}, {moment}"][parameter] = value
        return {**state, **self._remembered()}

    def _remembered(self) -> State:
        memory, generator = self.family.memory, self.networks.generator
        buffers = {**dict(memory.named_buffers()), **dict(generator.named_buffers())}
        of_layers = {
            what: {name: buffer for name, buffer in buffers.items() if name.endswith(end)}
            for what, end in REMEMBERED_BY_LAYERS.items()
        }
        single = {what: {"": buffers[name]} for what, name in REMEMBERED.items() if name in buffers}
        return {**single, **{what: found for what, found in of_layers.items() if found}}

    def _batch(self, count: int) -> Batch:
        spec, number = self.setting.spec, self._batches
        self._batches += 1
        shape = (count, spec["channels"], spec["height"], spec["width"])
        levels = (uniform(f"reals.{number}", shape) * 256).floor()
        classes = spec.get("classes", 0)
        labels = (uniform(f"labels.{number}", (count,)) * classes).long() if classes else None
        return Batch(levels / 127.5 - 1, labels)


MOMENTS = ("exp_avg", "exp_avg_sq")
REMEMBERED = {"ada p": "ada.p", "path-length mean": "path_length_mean", "w_avg": "mapping.w_avg"}
"""Quantities beside weights, by the buffers that hold them here."""
REMEMBERED_BY_LAYERS = {"magnitudes": ".magnitude"}
"""The same of those that layers have, by the ends of their names."""


@torch.no_grad()
def _move(network: nn.Module, net: str, far: float) -> None:
    if far:
        for name, parameter in network.named_parameters():
            size = parameter.square().mean().sqrt()
            parameter.add_(drawn(f"{net}.{name}.moved", parameter.shape), alpha=float(far * size))
