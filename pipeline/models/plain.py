"""The game and the sampler of families whose generator is a function of z and label alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Networks, Randomness, Stage, Verdict
from pipeline.models.sampling import draw_one_by_one

Augmentation = Callable[[Tensor, Randomness], Tensor]


class PlainGenerator(Protocol):
    """z [N, z_dim] and labels [N] (None if `classes` is 0) to images [N, C, H, W]."""

    z_dim: int
    classes: int

    def __call__(self, z: Tensor, labels: Tensor | None, *, exact: bool = False) -> Tensor: ...


@dataclass(frozen=True)
class PlainGame:
    """z is standard normal; labels that are not given are uniform. augment: what the discriminator's
    images pass through, reals and fakes alike; None for nothing."""

    networks: Networks
    stage: Stage
    randomness: Randomness
    augment: Augmentation | None = None

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        generator: PlainGenerator = self.networks.generator  # type: ignore[assignment]
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        return Fakes(generator(z, labels, exact=exact), labels, z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        if self.augment is not None:
            images = self.augment(images, self.randomness.first(images.shape[0]))
        verdict: Verdict = self.networks.discriminator(images, labels, exact=exact)
        return verdict


def labels_for(classes: int, labels: Tensor | None, randomness: Randomness) -> Tensor | None:
    """The given labels, else uniform ones; None for a model without classes."""
    if not classes:
        return None
    return randomness.integers(classes) if labels is None else labels


class PlainSampler:
    """Draws z from each seed; truncation psi scales it (1: as trained)."""

    def __init__(self, generator: nn.Module) -> None:
        self.generator = generator

    @torch.no_grad()
    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Errors: UserError for classes that the model does not have or that do not match the seeds."""
        generator: PlainGenerator = self.generator  # type: ignore[assignment]

        def make(z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
            return generator(z * truncation, labels, exact=True), z

        return draw_one_by_one(
            seeds,
            classes,
            known=generator.classes,
            latents=lambda randomness: randomness.normal(generator.z_dim),
            make=make,
            device=next(self.generator.parameters()).device,
        )
