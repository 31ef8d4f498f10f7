"""Samples from a trained StyleGAN3 generator."""

from __future__ import annotations

from torch import Tensor

from pipeline.models.sampling import LatentSampler, MeanCodes
from pipeline.models.stylegan3.generator import Generator
from pipeline.randomness import SampleRandomness


class StyleGAN3Sampler(LatentSampler):
    """Draws images in float32.

    Truncation moves w towards the mean w of its class or, without classes, towards w_avg, as in StyleGAN2.
    Codes are w of the input and of each layer. Implements latents.MovableSpace and latents.LinearSpace.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator, generator.classes)
        self.generator = generator
        self._means = MeanCodes(generator.mapping, generator.z_dim)

    @property
    def layers(self) -> int:
        return self.generator.layers

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        return randomness.normal(self.generator.z_dim)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        mapping = self.generator.mapping
        mean = None
        if truncation != 1 and labels is not None and len(labels):
            mean = self._means.of(labels, labels.device)
        w = mapping.truncate(mapping(z, labels), truncation, mean)
        return w[:, None].expand(-1, self.layers, -1)

    def class_mean(self, label: int) -> Tensor:
        """Returns the mean w of a class, [w_dim]."""
        return self._means.mean(label, self.device)

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

    def _known(self, z: Tensor, codes: Tensor) -> Tensor:
        return codes
