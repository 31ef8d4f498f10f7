"""Samples from ProGAN's generator at any stage of its growth."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Scalar
from pipeline.errors import UserError
from pipeline.models.progan.generator import Generator
from pipeline.models.sampling import LatentSampler
from pipeline.randomness import SampleRandomness


class ProGANSampler(LatentSampler):
    """Draws images from the levels grown so far, repeating pixels up to the resolution of the data.

    Codes are z followed by the class as a one-hot vector. There is no truncation: the generator normalises
    z, so that shorter latents make the same images. Implements latents.LinearSpace.
    """

    def __init__(self, generator: Generator, resolution: int, fade: Scalar) -> None:
        super().__init__(generator, generator.classes)
        self.generator, self.resolution, self.fade = generator, resolution, fade

    @property
    def truncates(self) -> bool:
        return False

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        if truncation != 1:
            raise UserError(f"truncation={truncation}: progan normalises its latents; allowed: 1")
        return randomness.normal(self.generator.z_dim)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        return self.generator.code(z, labels)[:, None]

    def _made(self, codes: Tensor) -> Tensor:
        generator = self.generator
        images = generator.decode(codes[:, 0], resolution=self.resolution, fade=self.fade, exact=True)
        return F.interpolate(images, size=generator.resolution, mode="nearest")

    def code_weights(self) -> list[Tensor]:
        dense = self.generator.first.dense
        weight = (dense.weight * dense.weight_gain).detach()
        weight[:, self.generator.z_dim :] = 0
        return [weight]
