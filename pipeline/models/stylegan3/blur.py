"""The blur of all that the discriminator sees while training begins (Karras et al. 2021, appendix F), and the
schedule by which it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

import ops
from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import Randomness, Scalar, Stage
from pipeline.models.schedule import ConstantSchedule

SIGMA = "blur_sigma"
"""The strength of the blur among a stage's weights, as long as there is any."""


@dataclass(frozen=True)
class SharpeningSchedule(ConstantSchedule):
    """One stage throughout, but for the blur, which shrinks linearly and is then no more part of it."""

    def at(self, images_seen: int) -> Stage:
        config = cast(StyleGAN3Config, self.config)
        left = 1 - images_seen / config.blur_images
        stage = super().at(images_seen)
        return (
            replace(stage, weights={SIGMA: left * config.blur_sigma})
            if left * config.blur_sigma > 0
            else stage
        )


@dataclass(frozen=True)
class Blur:
    """Implements contracts.Augmentation. taps: of a separable filter, an odd number."""

    taps: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        return ops.filter2d(images, self.taps)

    def moved(self, images: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class Blurring:
    """Makes the blur of a stage. sigma: where the filter's weight is half of that in its middle, in pixels;
    above 0. most: its largest value, by which the number of taps is the same at every step."""

    sigma: Scalar
    most: float

    def __call__(self, randomness: Randomness) -> Blur:
        """Returns the filter with weights 2^(-(i / sigma)^2) up to |i| = 3 sigma; nothing is drawn."""
        reach = math.floor(3 * self.most)
        device = self.sigma.device if isinstance(self.sigma, Tensor) else None
        places = torch.arange(-reach, reach + 1, device=device) / self.sigma
        weights = torch.where(places.abs() <= 3, torch.exp2(-places.square()), 0)
        return Blur((weights / weights.sum()).float())
