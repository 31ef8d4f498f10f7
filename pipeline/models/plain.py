"""Everything but the networks of families whose generator is a function of z and label alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.config.families import FewImages
from pipeline.contracts import (
    PIXELS,
    Augmentation,
    Batch,
    Codec,
    Fakes,
    Game,
    ImageSpec,
    Judge,
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
from pipeline.losses import Extra
from pipeline.models.augment import Chain, DiffAugment
from pipeline.models.codecs import ThroughCodec
from pipeline.models.groups import check_groups
from pipeline.models.layers import Again, follow_moments, measuring
from pipeline.models.phases import (
    LossMemory,
    adam_rules,
    discriminator_phases,
    generator_phase,
    lazy_factors,
)
from pipeline.models.precision import refuse_low_precision
from pipeline.models.sampling import LatentSampler
from pipeline.models.schedule import ConstantSchedule
from pipeline.models.together import judge_together
from pipeline.randomness import SampleRandomness

Augmenting = Callable[[Randomness], Augmentation]
"""Draws an augmentation for a batch of as many images as the randomness has samples."""


class PlainGenerator(Protocol):
    """Makes images [N, C, H, W] from z [N, z_dim] and labels [N] (None if `classes` is 0): a call is `code`
    followed by `decode`."""

    z_dim: int
    classes: int

    def __call__(self, z: Tensor, labels: Tensor | None, *, exact: bool = False) -> Tensor: ...

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns z followed by the embedding of the class: [N, dim]."""
        ...

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor: ...

    def code_weight(self) -> Tensor:
        """Returns the weight of the layer that takes codes, [outputs, dim]."""
        ...


@dataclass(frozen=True)
class PlainGame:
    """Implements contracts.AugmentedGame and contracts.ReplayedGame. z is standard normal; labels that are
    not given are uniform.

    augment: the augmentation of reals and fakes before the discriminator; None for none. alone: whether the
    discriminator judges each image by itself. group: the number of images in each batch statistic; 0 if the
    networks take none over groups.
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
        return self._judge(len(images))((images,), labels, exact=exact)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        count = len(reals)
        return self.judge_both_by((self._judge(count), self._judge(count)), fakes, reals, exact=exact)

    def draw_judge(self, count: int) -> Judge:
        return replace(self._judge(count), around=Again(self.networks.discriminator))

    def judge_both_by(
        self, judges: tuple[Judge, Judge], fakes: Fakes, reals: Batch, *, exact: bool = False
    ) -> tuple[Verdict, Verdict]:
        first, second = judges
        assert isinstance(first, PlainJudge)
        assert isinstance(second, PlainJudge)
        rows = self.rows(len(reals))
        if rows is None:
            fake = first(fakes.seen, fakes.labels, exact=exact)
            return fake, second((reals.images,), reals.labels, exact=exact)
        fake_shown = first.show(fakes.seen), first.tell(fakes.labels)
        real_shown = second.show((reals.images,)), second.tell(reals.labels)
        with first.around():
            return judge_together(partial(self.judge_shown, exact=exact), fake_shown, real_shown, rows)

    def rows(self, count: int) -> int | None:
        """The argument `rows` of `judge_together`, for batches of `count` images."""
        # Each fake stands beside its real, so that gradients which cancel between them cancel exactly, as
        # they do in two passes. Otherwise Adam would take full steps along what rounding leaves of them.
        return count if self.alone else self.group or None

    def draw_augmentation(self, count: int) -> Augmentation:
        return Chain() if self.augment is None else self.augment(self.randomness.first(count))

    def _judge(self, count: int) -> PlainJudge:
        """Returns a judge for one pass: its network remembers nothing of it."""
        augmentation = self.draw_augmentation(count)
        return PlainJudge(self, lambda seen: augmentation(*seen))

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        with self._measuring("discriminator") as stats:
            verdict: Verdict = self.networks.discriminator(shown, labels, exact=exact)
        return replace(verdict, stats=stats) if stats else verdict

    def _measuring(self, net: Net) -> AbstractContextManager[dict[str, Tensor]]:
        return measuring(net, self.networks[net]) if self.group else nullcontext({})


@dataclass(frozen=True)
class PlainJudge:
    """Implements contracts.Judge. show: makes of samples, as `Fakes.seen` has them, what `game.judge_shown`
    takes. around: returns the context of each pass of the network. tell: makes of labels what it takes."""

    game: PlainGame
    show: Callable[[Sequence[Tensor]], Tensor]
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    tell: Callable[[Tensor | None], Tensor | None] = lambda labels: labels

    def __call__(self, seen: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False) -> Verdict:
        with self.around():
            return self.game.judge_shown(self.show(seen), self.tell(labels), exact=exact)


def labels_for(classes: int, labels: Tensor | None, randomness: Randomness) -> Tensor | None:
    """Returns the given labels or, if there are none, uniform ones; None for a model without classes."""
    if not classes:
        return None
    return randomness.integers(classes) if labels is None else labels


def retouching(config: object, seen: ImageSpec, size: tuple[int, int], *, pixels: bool) -> Augmenting | None:
    """Returns the DiffAugment that the config of a family asks for; None if it asks for none.

    seen: the images as the networks see them. size: their (height, width) at the stage. pixels: whether they
    are pixels, whose fourth channel is opacity, or a codec's latents.
    """
    if not isinstance(config, FewImages) or not config.diffaugment:
        return None
    colors = 3 if pixels and seen.channels == 4 else None
    return partial(DiffAugment(config.diffaugment, colors=colors).draw, size=size)


def one_after_another(*parts: Augmenting | None) -> Augmenting:
    """Returns the chain of those that are not None, each of which draws its numbers in turn."""
    chosen = [part for part in parts if part is not None]
    return lambda randomness: Chain(tuple(part(randomness) for part in chosen))


class PlainSampler(LatentSampler):
    """Draws z from each seed; truncation psi scales it (1: as trained). Codes are the results of the
    generator's `code`. Implements latents.LinearSpace."""

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


class PlainFamily(ThroughCodec, ABC):
    """A family whose phases and memory are those of its losses: a subclass only has to define `networks`.

    Implements contracts.Family. config: both an `Objectives` and an `Optimisation`. batch_size: images per
    step over all ranks. schedule: None for one stage throughout. discriminator_first: whether the
    discriminator's turn comes first in a step. orthogonal: see `generator_phase`. extras: a family's own
    terms in the turns of each network. low_precision: refused with a UserError; a family with blocks that
    support it does not pass it on. seen: the images of `spec` as
    the networks see them, after the codec.
    """

    schedule: Schedule
    phases: tuple[Phase, ...]
    optimizers: Mapping[Net, Rule]
    memory: nn.Module
    judges_alone = False
    """Whether the discriminator judges each image by itself: no batch statistics, no buffers that change."""
    heads = 1
    """The number of heads of the discriminator (`Verdict.heads`)."""
    group = 0
    """The number of images in each batch statistic (`GroupBatchNorm`), the same in all layers; 0 if there are
    no such layers."""

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
        extras: Mapping[Net, Sequence[Extra]] | None = None,
    ) -> None:
        refuse_low_precision(config, low_precision)
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
        own = extras or {}
        generator = generator_phase(
            config,
            classes=spec.classes,
            orthogonal=orthogonal,
            discriminator_first=discriminator_first,
            extras=own.get("generator", ()),
        )
        discriminator = discriminator_phases(
            config, self.losses, classes=spec.classes, extras=own.get("discriminator", ())
        )
        self.phases = (*discriminator, generator) if discriminator_first else (generator, *discriminator)

    @abstractmethod
    def networks(self) -> Networks:
        """Returns freshly initialised networks: a `PlainGenerator`, and a discriminator that takes images and
        labels and returns a `Verdict`."""

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        augment = self.hiding(stage)
        return PlainGame(networks, stage, randomness, augment, alone=self.judges_alone, group=self.group)

    def augmenting(self, stage: Stage) -> Augmenting | None:
        """Returns the augmentation of what the discriminator sees at this stage, None for none."""
        return retouching(self.config, self.seen, self._size(stage), pixels=self.codec is PIXELS)

    def hiding(self, stage: Stage) -> Augmenting | None:
        """Returns all that a game of this stage does to what the discriminator sees: the augmentation, then
        noise."""
        noise = self.losses.diffusion
        if noise is None:
            return self.augmenting(stage)
        shape = (self.seen.channels, *self._size(stage))
        return one_after_another(self.augmenting(stage), partial(noise.draw, shape=shape))

    def _size(self, stage: Stage) -> tuple[int, int]:
        part = stage.resolution / self.spec.height
        return round(self.seen.height * part), round(self.seen.width * part)

    def check_batch(self, images: int) -> None:
        """Requires whole groups of images. Without groups any number will do, because batch statistics are
        then taken over a micro-batch of all ranks."""
        if self.group:
            check_groups("the groups of its batch normalisation", self.group, images)

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self.losses.observe(stats, images)
        if self.group:
            follow_moments(networks, stats)

    def figures(self) -> Mapping[str, Tensor]:
        return self.losses.figures()

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        return PlainSampler(generator, self.codec)
