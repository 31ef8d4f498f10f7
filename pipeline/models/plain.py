"""Families whose generator is a function of z and label alone: their game, sampler and all but networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.contracts import (
    PIXELS,
    Augmentation,
    Batch,
    Codec,
    Fakes,
    Game,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Phase,
    Randomness,
    Rule,
    Sampler,
    Schedule,
    Stage,
    Verdict,
)
from pipeline.errors import UserError
from pipeline.models.augment import Chain
from pipeline.models.groups import check_groups
from pipeline.models.layers import follow_moments, measuring
from pipeline.models.phases import (
    LossMemory,
    adam_rules,
    discriminator_phases,
    generator_phase,
    lazy_factors,
)
from pipeline.models.sampling import LatentSampler
from pipeline.models.schedule import ConstantSchedule
from pipeline.models.together import judge_together
from pipeline.randomness import SampleRandomness

Augmenting = Callable[[Randomness], Augmentation]
"""Draws what happens to a batch of as many images as there are samples."""


class PlainGenerator(Protocol):
    """z [N, z_dim] and labels [N] (None if `classes` is 0) to images [N, C, H, W]: `decode` of `code`."""

    z_dim: int
    classes: int

    def __call__(self, z: Tensor, labels: Tensor | None, *, exact: bool = False) -> Tensor: ...

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """z, then what the class becomes: [N, dim]."""
        ...

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor: ...

    def code_weight(self) -> Tensor:
        """The weight of the layer that sees codes, [outputs, dim]."""
        ...


@dataclass(frozen=True)
class PlainGame:
    """z is standard normal; labels that are not given are uniform. Implements contracts.AugmentedGame.

    augment: what the discriminator's images pass through, reals and fakes alike; None for nothing. alone: it
    judges each image by itself. group: how many images a batch statistic takes together; 0 without such.
    """

    networks: Networks
    stage: Stage
    randomness: Randomness
    augment: Augmenting | None = None
    alone: bool = False
    group: int = 0

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        generator: PlainGenerator = self.networks.generator  # type: ignore[assignment]
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        with self._measuring("generator") as stats:
            images = generator(z, labels, exact=exact)
        return Fakes(images, labels, z, stats=stats)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.judge_shown(self._shown(images), labels, exact=exact)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        fake, real = ((self._shown(part.images), part.labels) for part in (fakes, reals))
        return judge_together(partial(self.judge_shown, exact=exact), fake, real, self.rows(len(reals)))

    def rows(self, count: int) -> int | None:
        """See `judge_together`."""
        # Each fake beside its real: gradients that cancel between them cancel exactly, as in two passes. Adam
        # would take whole steps by what rounding leaves of them.
        return count if self.alone else self.group or None

    def draw_augmentation(self, count: int) -> Augmentation:
        return Chain() if self.augment is None else self.augment(self.randomness.first(count))

    def _shown(self, images: Tensor) -> Tensor:
        return self.draw_augmentation(len(images))(images)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        with self._measuring("discriminator") as stats:
            verdict: Verdict = self.networks.discriminator(shown, labels, exact=exact)
        return replace(verdict, stats=stats) if stats else verdict

    def _measuring(self, net: Net) -> AbstractContextManager[dict[str, Tensor]]:
        return measuring(net, self.networks[net]) if self.group else nullcontext({})


def labels_for(classes: int, labels: Tensor | None, randomness: Randomness) -> Tensor | None:
    """The given labels, else uniform ones; None for a model without classes."""
    if not classes:
        return None
    return randomness.integers(classes) if labels is None else labels


class PlainSampler(LatentSampler):
    """Draws z from each seed; truncation psi scales it (1: as trained). Codes are what the generator's `code`
    gives. Implements latents.LinearSpace."""

    def __init__(self, generator: nn.Module, codec: Codec = PIXELS) -> None:
        self.generator: PlainGenerator = generator  # type: ignore[assignment]
        super().__init__(generator, self.generator.classes, codec)

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return randomness.normal(self.generator.z_dim) * truncation

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        return self.generator.code(z, labels)[:, None]

    def _made(self, codes: Tensor) -> Tensor:
        return self.generator.decode(codes[:, 0], exact=True)

    def code_weights(self) -> list[Tensor]:
        weight = self.generator.code_weight().detach().clone()
        weight[:, self.generator.z_dim :] = 0
        return [weight]


class PlainFamily(ABC):
    """A family whose phases are its losses' and whose memory is theirs: `networks` is all that one must add.

    Implements contracts.Family. config: an `Objectives` and `Optimisation` in one. batch_size: global.
    schedule: None for one stage throughout. discriminator_first: whose turn comes first in a step.
    orthogonal: see `generator_phase`. seen: the images of `spec` as networks see them, by the codec.
    low_precision: refused here; a family that has blocks for it keeps it.
    """

    spec: ImageSpec
    schedule: Schedule
    phases: tuple[Phase, ...]
    optimizers: Mapping[Net, Rule]
    memory: nn.Module
    codec: Codec = PIXELS
    needs = Needs()
    judges_alone = False
    """The discriminator judges each image by itself: no statistics of a batch, nothing that a pass moves."""
    heads = 1
    """Of the discriminator (`Verdict.heads`)."""
    group = 0
    """How many images each batch statistic takes together (`GroupBatchNorm`), in all layers alike; 0 without
    such."""

    def __init__(
        self,
        config: Any,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
        schedule: Schedule | None = None,
        discriminator_first: bool = False,
        orthogonal: Callable[[nn.Module], Iterable[Tensor]] | None = None,
    ) -> None:
        if low_precision is not None:
            raise UserError(
                f"engine.precision=bfloat16: no blocks of {config.name}'s networks compute in it; "
                "allowed: float32"
            )
        self.config, self.spec = config, spec
        self.seen = self.codec.latents(spec)
        self.losses = LossMemory(config, self.heads)
        self.memory = self.losses
        self.fixtures: Mapping[str, nn.Module] = {}
        self.optimizers = adam_rules(config, config)
        images = batch_size * config.discriminator_repeats
        self.schedule = schedule or ConstantSchedule(
            config, spec.height, batch_size, images, lazy_factors(config)
        )
        generator = generator_phase(
            config,
            classes=spec.classes,
            orthogonal=orthogonal,
            discriminator_first=discriminator_first,
        )
        discriminator = discriminator_phases(config, self.losses, classes=spec.classes)
        self.phases = (*discriminator, generator) if discriminator_first else (generator, *discriminator)

    @abstractmethod
    def networks(self) -> Networks:
        """Freshly initialised networks: a `PlainGenerator`, and images and labels to a `Verdict`."""

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return PlainGame(networks, stage, randomness, alone=self.judges_alone, group=self.group)

    def check_batch(self, images: int) -> None:
        """Whole groups; without groups any number will do, for batch statistics are then those of a
        micro-batch over all ranks."""
        if self.group:
            check_groups("the groups of its batch normalisation", self.group, images)

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self.losses.observe(stats)
        if self.group:
            follow_moments(networks, stats)

    def figures(self) -> Mapping[str, Tensor]:
        return {}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        return PlainSampler(generator, self.codec)
