"""Samples from a trained GRAF generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.models.graf.camera import POSE
from pipeline.models.graf.generator import VIEW, Generator
from pipeline.models.sampling import LatentSampler
from pipeline.randomness import SampleRandomness


class GRAFSampler(LatentSampler):
    """Draws images of random scenes from random poses, without noise. Truncation psi scales z: scenes become
    average, and cameras stand in the middle of where they may.

    Codes have three layers: shape, appearance and pose. Implements latents.OrbitedSpace.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator, generator.classes)
        self.generator = generator

    @property
    def layers(self) -> int:
        return self.generator.layers

    @property
    def azimuths(self) -> tuple[float, float]:
        return self.generator.config.azimuth

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return randomness.normal(self.generator.z_dim) * truncation

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        return self.generator.code(z, labels)

    def _made(self, codes: Tensor) -> Tensor:
        return self.generator.image(codes)

    def render(self, codes: Tensor, side: int) -> Tensor:
        """Returns the images of codes at another resolution, [N, C, side, side]."""
        return self.generator.image(codes, side)

    def seen_from(self, codes: Tensor, azimuths: Tensor, polars: Tensor | None = None) -> Tensor:
        pose = [codes[:, VIEW, number] for number in range(POSE)]
        pose[0] = (azimuths * (math.pi / 180)).to(codes)
        if polars is not None:
            pose[1] = (polars * (math.pi / 180)).to(codes)
        view = torch.cat([torch.stack(pose, dim=1), codes[:, VIEW, POSE:]], dim=1)
        return torch.cat([codes[:, :VIEW], view[:, None]], dim=1)
