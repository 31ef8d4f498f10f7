"""Images from a trained generator, each a function of its own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.sampling import LatentSampler
from pipeline.models.stylegan2.generator import Generator, Noise
from pipeline.randomness import SampleRandomness


class StyleGAN2Sampler(LatentSampler):
    """Draws with the stored noise constants, in float32; truncation pulls w towards its mean.

    Codes are w of each layer. Implements latents.StyledSpace and latents.LinearSpace.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator, generator.classes)
        self.generator = generator

    @property
    def layers(self) -> int:
        return self.generator.layers

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return randomness.normal(self.generator.z_dim)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        w = self.generator.mapping.truncate(self.generator.mapping(z, labels), truncation)
        return w[:, None].expand(-1, self.layers, -1)

    def synthesise(self, codes: Tensor) -> Tensor:
        return self._images(codes, "const")

    def noise_maps(self) -> list[Tensor]:
        stored = [conv.noise_const for conv in self.generator.synthesis.convolutions]
        return [noise.clone() for noise in stored if noise is not None]

    def synthesise_with(self, codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
        return self._images(codes, noise if noise else "none")

    def code_weights(self) -> list[Tensor]:
        """Of the layers that a w feeds: those that scale a convolution's inputs."""
        fed = self.generator.synthesis.fed
        return [torch.cat([a.weight * a.weight_gain for a in affines]).detach() for affines in fed]

    def _images(self, codes: Tensor, noise: Noise) -> Tensor:
        images: Tensor = self.generator.synthesis(codes, noise, exact=True)
        return images

    def _known(self, z: Tensor, codes: Tensor) -> Tensor:
        return codes
