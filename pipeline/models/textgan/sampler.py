"""Images of texts, from a trained generator."""

from __future__ import annotations

from torch import nn

from pipeline.contracts import Batch, Fakes
from pipeline.models.sampling import GivenSampler
from pipeline.models.textgan.networks import Generator
from pipeline.randomness import SampleRandomness


class TextSampler(GivenSampler):
    """Implements contracts.Conditional: draws z from each seed and paints what each sample's text says."""

    def __init__(self, generator: nn.Module, kind: str, field: str) -> None:
        super().__init__(generator, kind, (field,))
        self.generator: Generator = generator  # type: ignore[assignment]

    def _made(self, given: Batch, randomness: SampleRandomness) -> Fakes:
        (field,) = self.fields
        z = randomness.normal(self.generator.painter.z_dim)
        return Fakes(self.generator.painter(z, self.generator.encoder(given.extra[field])), None, z)
