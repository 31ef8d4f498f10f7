"""Makes images of images with a trained translator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, ImageSpec, Translation
from pipeline.models.sampling import GivenSampler
from pipeline.models.translation.game import Giving, noise_of
from pipeline.models.translation.generator import TranslatingGenerator
from pipeline.randomness import SampleRandomness


class TranslationSampler(GivenSampler):
    """Implements contracts.Translator. spec: the images that it makes of samples of a data set."""

    def __init__(self, generator: TranslatingGenerator, kind: str, giving: Giving, spec: ImageSpec) -> None:
        super().__init__(generator, kind, giving.fields)
        self.generator, self._giving, self._spec = generator, giving, spec

    @property
    def translation(self) -> Translation:
        of = self.generator
        return replace(
            self._giving.translation,
            divisor=of.divisor,
            least=of.least,
            only=of.only,
            reach=of.reach,
            margin=of.margin,
        )

    def _made(self, given: Batch, randomness: SampleRandomness) -> Fakes:
        inputs = self._giving.inputs(given, randomness)
        return Fakes(self._translated(inputs, randomness), None, inputs.flatten(1))

    def _translated(self, inputs: Tensor, randomness: SampleRandomness) -> Tensor:
        images = self.generator(inputs, noise_of(self.generator, inputs, randomness), exact=True)
        return self._giving.finished(images, inputs)

    @torch.no_grad()
    def translate(self, images: Tensor, seeds: Sequence[int], holes: Tensor | None = None) -> Tensor:
        holes = None if holes is None else holes.to(self.device)
        inputs = self._giving.taken(images.to(self.device), holes)
        return self._translated(inputs, self._randomness(seeds))

    @torch.no_grad()
    def shown(self, given: Batch, seeds: Sequence[int]) -> Tensor:
        inputs = self._giving.inputs(given.map(lambda x: x.to(self.device)), self._randomness(seeds))
        return self._giving.shown(inputs, (self._spec.height, self._spec.width), self._spec.channels)
