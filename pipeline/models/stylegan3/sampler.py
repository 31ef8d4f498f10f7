"""Samples from a trained StyleGAN3 generator."""

from __future__ import annotations

from torch import Tensor

from pipeline.models.stylegan2.sampler import MappedSampler
from pipeline.models.stylegan3.generator import Generator


class StyleGAN3Sampler(MappedSampler):
    """Draws images in float32. Codes are w of the input and of each layer. Implements latents.MovableSpace
    and latents.LinearSpace."""

    generator: Generator

    def _made(self, codes: Tensor) -> Tensor:
        return self._images(codes, None)

    def synthesise_moved(self, codes: Tensor, moves: Tensor) -> Tensor:
        return self._images(codes, moves)

    def code_weights(self) -> list[Tensor]:
        """Returns the weights of the linear layers that take w: the first moves the input, the others scale
        the inputs of convolutions."""
        fed = self.generator.synthesis.fed
        return [(affine.weight * affine.weight_gain).detach() for affine in fed]

    def _images(self, codes: Tensor, moves: Tensor | None) -> Tensor:
        images: Tensor = self.generator.synthesis(codes, moves, exact=True)[0]
        return images
