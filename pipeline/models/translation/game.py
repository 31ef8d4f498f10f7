"""How a translator plays: its fakes are made of the inputs that the reals of the micro-batch give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.contracts import Augmentation, Batch, Fakes, Randomness, Translation
from pipeline.models.augment import Chain
from pipeline.models.plain import PlainGame
from pipeline.models.translation.generator import TranslatingGenerator


class Giving(Protocol):
    """Makes of samples what a translator is given.

    fields: the names of the fields that samples must have. channels: of the inputs.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def channels(self) -> int: ...

    def inputs(self, reals: Batch, randomness: Randomness) -> Tensor:
        """Returns the inputs [N, channels, H', W'] of N samples; what is random in them is each sample's
        own."""
        ...

    def taken(self, given: Tensor, holes: Tensor | None = None) -> Tensor:
        """Returns the inputs made of what a user gives, as `contracts.Translator.translate` takes it."""
        ...

    @property
    def translation(self) -> Translation:
        """What a translator is given and makes of it; the generator adds which sizes it takes."""
        ...

    def finished(self, images: Tensor, inputs: Tensor) -> Tensor:
        """Returns images as users get them, given what the generator has made of the inputs."""
        ...

    def shown(self, inputs: Tensor, size: tuple[int, int], channels: int) -> Tensor:
        """Returns inputs as pictures [N, channels, *size] in [-1, 1]."""
        ...


@dataclass(frozen=True)
class TranslationGame(PlainGame):
    """inputs: of the micro-batch, [N, C, H, W]. told: whether the discriminator sees them beside the images.
    how: further arguments of the generator. shown: the reals that the inputs were made of, if they are parts
    of the micro-batch's."""

    inputs: Tensor | None = None
    told: bool = False
    how: Mapping[str, Any] = field(default_factory=dict)
    shown: Batch | None = None

    def present(self, reals: Batch) -> Batch:
        return reals if self.shown is None else replace(reals, images=self.shown.images)

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Translates the first `count` inputs, which are `Fakes.latents`."""
        assert self.inputs is not None, "a translator plays with reals alone"
        inputs = self.inputs[:count]
        generator: TranslatingGenerator = self.networks.generator  # type: ignore[assignment]
        noise = noise_of(generator, inputs, self.randomness.first(count))
        with self._measuring("generator") as stats:
            images = generator(inputs, noise, exact=exact, **self.how)
        return Fakes(images, labels, inputs.flatten(1), stats=stats)

    def draw_augmentation(self, count: int) -> Augmentation:
        drawn = super().draw_augmentation(count)
        if not self.told:
            return drawn
        assert self.inputs is not None, "the discriminator judges images beside what they are made of"
        return Chain((drawn, Beside(self.inputs[:count])))


@dataclass(frozen=True)
class Beside:
    """Implements contracts.Augmentation: images, followed by the channels of what they are made of."""

    inputs: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return torch.cat([images, self.inputs.to(images.dtype)], dim=1)

    def moved(self, images: Tensor) -> Tensor:
        return images


def noise_of(generator: TranslatingGenerator, inputs: Tensor, randomness: Randomness) -> list[Tensor]:
    """Draws the noise of the generator for these inputs."""
    return [randomness.uniform(*shape) for shape in generator.noise_shapes(*inputs.shape[2:])]
