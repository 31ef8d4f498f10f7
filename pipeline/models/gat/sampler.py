"""Samples from a trained GAT generator."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.contracts import PIXELS, Codec
from pipeline.models.gat.generator import Generator
from pipeline.models.sampling import LatentSampler, MeanCodes
from pipeline.randomness import SampleRandomness


class GATSampler(LatentSampler):
    """Draws images in float32. Codes are w.

    Truncation moves w towards its mean over z, with classes that of the class: psi 1 is as trained, 0 the
    mean itself. The option of the authors' code is 1 - psi. Implements latents.LinearSpace.
    """

    def __init__(self, generator: Generator, codec: Codec = PIXELS) -> None:
        super().__init__(generator, generator.classes, codec)
        self.generator = generator
        self._means = MeanCodes(generator.mapping, generator.z_dim)

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return randomness.normal(self.generator.z_dim)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        w: Tensor = self.generator.mapping(z, labels)
        if truncation != 1 and len(z):
            mean = self._means.of(labels, z.device)
            w = mean + truncation * (w - mean)
        return w[:, None]

    def _made(self, codes: Tensor) -> Tensor:
        levels: tuple[Tensor, ...] = self.generator.synthesis(codes[:, 0], exact=True)
        return levels[-1]

    def code_weights(self) -> list[Tensor]:
        """Returns the weights of the linear layers that take SiLU(w) and scale the tokens."""
        return [torch.cat([layer.weight for layer in self.generator.synthesis.modulations]).detach()]

    def _known(self, z: Tensor, codes: Tensor) -> Tensor:
        return codes
