"""Samples from a trained StyleGAN2 generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import PIXELS, Codec
from pipeline.models.sampling import LatentSampler, MeanCodes
from pipeline.models.stylegan2.generator import Generator, Noise
from pipeline.randomness import SampleRandomness


class MappedSampler(LatentSampler):
    """Draws images from w, the same for each layer unless codes say otherwise.

    Truncation moves w towards w_avg or, with classes, towards the mean w of its class, because w_avg, the
    mean over all classes, belongs to none of them. The mean of a class is computed when it is first needed,
    from the generator as it is then. Codes are w of each layer.

    generator: has `mapping`, `z_dim`, `classes` and `layers`.
    """

    def __init__(self, generator: Any, codec: Codec = PIXELS) -> None:
        super().__init__(generator, generator.classes, codec)
        self.generator = generator
        self._means = MeanCodes(generator.mapping, generator.z_dim)

    @property
    def layers(self) -> int:
        layers: int = self.generator.layers
        return layers

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return randomness.normal(self.generator.z_dim)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        mapping = self.generator.mapping
        mean = None
        if truncation != 1 and labels is not None and len(labels):
            mean = self._means.of(labels, labels.device)
        w: Tensor = mapping.truncate(mapping(z, labels), truncation, mean)
        return w[:, None].expand(-1, self.layers, -1)

    def class_mean(self, label: int) -> Tensor:
        """Returns the mean w of a class, [w_dim]."""
        return self._means.mean(label, self.device)

    def _known(self, z: Tensor, codes: Tensor) -> Tensor:
        return codes


class StyleGAN2Sampler(MappedSampler):
    """Draws images with the stored noise constants, in float32. Implements latents.StyledSpace,
    latents.LinearSpace and latents.MovableSpace."""

    generator: Generator

    def _made(self, codes: Tensor) -> Tensor:
        return self._images(codes, "const")

    def noise_maps(self) -> list[Tensor]:
        stored = [conv.noise_const for conv in self.generator.synthesis.convolutions]
        return [noise.clone() for noise in stored if noise is not None]

    def synthesise_with(self, codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
        return self._codec.decode(self._images(codes, noise if noise else "none"))

    def synthesise_moved(self, codes: Tensor, moves: Tensor) -> Tensor:
        """Moves the constant at 4px, bilinear between its pixels and 0 beyond them, which is what its
        convolutions see there. The noise stays where it is."""
        const = self.generator.synthesis.const
        height, width = const.shape[1:]
        scale = torch.tensor([2.0, 2.0 * width / height, 1.0], device=const.device)[:, None]  # from widths
        turns = scale * moves.expand(len(codes), 3, 3) / scale.T
        grid = F.affine_grid(turns[:, :2], [len(codes), 1, height, width], align_corners=False)
        begin = F.grid_sample(const.expand(len(codes), *const.shape), grid, align_corners=False)
        return self._codec.decode(self._images(codes, "const", begin))

    def code_weights(self) -> list[Tensor]:
        """Returns the weights of the linear layers that take w and scale the inputs of convolutions."""
        fed = self.generator.synthesis.fed
        return [torch.cat([a.weight * a.weight_gain for a in affines]).detach() for affines in fed]

    def _images(self, codes: Tensor, noise: Noise, begin: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator.synthesis(codes, noise, begin=begin, exact=True)
        return images
