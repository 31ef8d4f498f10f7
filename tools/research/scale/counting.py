"""What one step of a configuration computes, keeps and sends, counted from its own networks and loop.

The trainer makes a real step on tensors without data (torch's fake tensors), so that every forward, backward
and double backward pass is there, at any size, in seconds; each operation is counted as it passes.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from launch.assembly.fitting import Still
from launch.assembly.operations import use_operations
from launch.assembly.trainer import assemble, family_of
from pipeline.config.load import load_config
from pipeline.config.run import EngineConfig, RunConfig
from pipeline.contracts import Batch, Family, ImageSpec, Net, Phase, Process, Stage
from pipeline.engines.replicated import Replicated
from pipeline.errors import UserError
from pipeline.models.auto import with_auto_settings
from tools.research.scale.tally import Tally

_RANKS = 2  # that the counted rank believes in: enough for every exchange to take place
_GROWN = 10**12  # images seen: every schedule has ended


@dataclass(frozen=True)
class Exchange:
    """One all-reduce. kind: gradients, norm (statistics of batch normalisation) or stats."""

    kind: str
    bytes: int


@dataclass(frozen=True)
class Linear:
    """A quantity as a function of images held at once: fixed + each * images."""

    fixed: float
    each: float

    def at(self, images: float) -> float:
        return self.fixed + self.each * images

    @classmethod
    def through(cls, images: int, value: float, images2: int, value2: float) -> Linear:
        each = (value2 - value) / (images2 - images)
        return cls(value - each * images, each)


@dataclass(frozen=True)
class PhaseCount:
    """One turn of a phase. flops, peak: of one micro-batch; peak in bytes beyond weights, gradients and
    moments. norm: exchanges of batch statistics, once a micro-batch. gradients: those once a turn."""

    name: str
    trains: Net
    every: int
    repeats: int
    flops: Linear
    peak: Linear
    norm: tuple[Exchange, ...]
    gradients: tuple[Exchange, ...]


@dataclass(frozen=True)
class Count:
    """One stage of a configuration. batch: global, in images. times: batches of reals a step. trainable,
    held: bytes of each network's trained parameters, and of all it stores. stats: exchanges once a step.
    group: images that a GPU needs at least."""

    resolution: int
    batch: int
    times: int
    phases: tuple[PhaseCount, ...]
    trainable: Mapping[Net, int]
    held: Mapping[Net, int]
    stats: tuple[Exchange, ...]
    group: int


@dataclass(frozen=True)
class Span:
    """`images` of a run that are trained at the conditions of `count`."""

    images: int
    count: Count


@dataclass
class _Seen:
    """What one fake step was seen to do. phases: (FLOPs, most bytes) of a turn. exchanges: of a turn by its
    phase, of the rest of the step under ""; turn: the phase that is under way."""

    phases: dict[str, tuple[int, int]] = field(default_factory=dict)
    exchanges: dict[str, list[Exchange]] = field(default_factory=lambda: defaultdict(list))
    turn: str = ""

    @contextmanager
    def around(self, phase: Phase) -> Iterator[None]:
        """For `Trainer.around`."""
        self.turn = phase.name
        with Tally() as tally:
            yield
        self.phases[phase.name] = (tally.flops, tally.peak)
        self.turn = ""


class NoOptimizer:
    """Updates are counted by their bytes, not run."""

    def __init__(self, *_: object, **__: object) -> None:
        self.param_groups: list[dict[str, Any]] = [{}]
        self.state: dict[Any, Any] = {}

    def step(self) -> None:
        pass

    def register_step_pre_hook(self, hook: object) -> None:
        """There is no step to come before."""


class NoAverage:
    """Nor is the averaged copy made: deepcopy of fake tensors spoils memory (torch 2.13)."""

    def __init__(self, *_: object) -> None:
        pass

    def update(self, beta: float) -> None:
        pass


class _Sent:
    def wait(self, *_: object) -> bool:
        return True

    def is_completed(self) -> bool:
        return True


@dataclass(frozen=True)
class NoData:
    """Reals of a shape."""

    spec: ImageSpec
    images: int
    damaged = retries = 0

    @property
    def others(self) -> NoData:
        return self

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        side = resolution or self.spec.height
        labels = torch.zeros(self.images, dtype=torch.int64) if self.spec.classes else None
        return [Batch(torch.zeros(self.images, self.spec.channels, side, side), labels)] * times


@contextmanager
def _recorded(seen: _Seen) -> Iterator[None]:
    """all_reduce is noted, by phase and by who calls it, and does nothing."""

    def note(tensor: Tensor, *_: object, **__: object) -> _Sent:
        caller = sys._getframe(1).f_globals["__name__"]
        kind = "norm" if ".layers." in caller else "gradients" if seen.turn else "stats"
        seen.exchanges[seen.turn].append(Exchange(kind, tensor.numel() * tensor.element_size()))
        return _Sent()

    with (
        patch.object(dist, "all_reduce", note),
        patch.object(dist, "is_initialized", lambda: True),
        patch.object(dist, "get_world_size", lambda *_: _RANKS),
        patch.object(torch.optim, "Adam", NoOptimizer),
        patch("pipeline.training.trainer.Averager", NoAverage),
    ):
        yield


def stages(family: Family, images: int, samples: int = 400) -> list[tuple[int, Stage]]:
    """(images, stage) for each resolution and batch of a run of `images`, the last stage of each."""
    shares: dict[tuple[int, int], tuple[int, Stage]] = {}
    for number in range(samples):
        stage = family.schedule.at(number * images // samples)
        share = (number + 1) * images // samples - number * images // samples
        name = (stage.resolution, stage.batch_size)
        shares[name] = (shares.get(name, (0, stage))[0] + share, replace(stage, fade=1.0))
    return list(shares.values())


def count_stage(
    config: RunConfig, spec: ImageSpec, stage: Stage, *, recompute: bool = False, proportional: bool = False
) -> Count:
    """One step with every phase, at two numbers of images, from which all others follow; proportional: at
    one, as if nothing were fixed."""
    group = smallest_batch(family_of(config, spec))
    seen, family, trainable, held = _fake_step(config, spec, stage, group, recompute)
    more = None if proportional else _fake_step(config, spec, stage, 2 * group, recompute)[0]
    phases = []
    for phase in family.phases:
        few = seen.phases[phase.name]
        many = (2 * few[0], 2 * few[1]) if more is None else more.phases[phase.name]
        sent = seen.exchanges[phase.name]
        phases.append(
            PhaseCount(
                phase.name, phase.trains, phase.every, phase.repeats,
                Linear.through(group, few[0], 2 * group, many[0]),
                Linear.through(group, few[1], 2 * group, many[1]),
                tuple(one for one in sent if one.kind == "norm"),
                tuple(one for one in sent if one.kind == "gradients"),
            )
        )  # fmt: skip
    times = max(phase.repeats for phase in family.phases)
    stats = tuple(seen.exchanges[""])
    return Count(stage.resolution, stage.batch_size, times, tuple(phases), trainable, held, stats, group)


def _fake_step(
    config: RunConfig, spec: ImageSpec, stage: Stage, images: int, recompute: bool
) -> tuple[_Seen, Family, dict[Net, int], dict[Net, int]]:
    seen = _Seen()
    with FakeTensorMode(allow_non_fake_inputs=True), _recorded(seen):
        family = family_of(config, spec)
        played = family_of(config, spec)
        played.schedule = Still(replace(stage, batch_size=_RANKS * images))
        played.phases = tuple(replace(phase, repeats=1) for phase in family.phases)  # all count as the first
        trainer = assemble(
            played,
            engine=Replicated(Process(0, _RANKS, 0, torch.device("cpu"))),
            settings=EngineConfig(recompute="blocks" if recompute else "off"),
            stream=NoData(spec, images),
        )
        trainer.around = seen.around
        networks = trainer.networks
        trainer.progress.images_seen = _GROWN
        trainer.step()
        trainable: dict[Net, int] = {
            net: sum(_bytes(p) for p in module.parameters() if p.requires_grad)
            for net, module in networks.items()
        }
        held: dict[Net, int] = {
            net: sum(_bytes(t) for t in module.state_dict().values()) for net, module in networks.items()
        }
    return seen, family, trainable, held


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def smallest_batch(family: Family) -> int:
    """Images that one process needs at least: one group of the minibatch's statistics."""
    for images in range(1, 1025):
        try:
            family.check_batch(images)
        except UserError:
            continue
        return images
    raise ValueError("no batch up to 1,024 images is allowed")


def count_run(
    path: Path,
    resolution: int,
    classes: int,
    *,
    recompute: bool = False,
    overrides: tuple[str, ...] = (),
    last_only: bool = False,
    proportional: bool = False,
) -> tuple[RunConfig, list[Span]]:
    """The configuration at `path`, and the spans of its run. last_only: just the final one. proportional: see
    `count_stage`."""
    config = load_config(path, [*overrides])
    spec = ImageSpec(resolution, resolution, 3, classes)
    config = with_auto_settings(config, spec)
    use_operations("reference", torch.device("cpu"))
    spans = stages(family_of(config, spec), config.length.images)
    count = partial(count_stage, config, spec, recompute=recompute, proportional=proportional)
    return config, [Span(images, count(stage)) for images, stage in (spans[-1:] if last_only else spans)]
