"""What a trained classifier takes images for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, DataSet, Fakes
from pipeline.models.dann.network import Classifier
from pipeline.models.sampling import GivenSampler, labels_of
from pipeline.randomness import SampleRandomness

_LOOKED = 64  # samples among which one of a class is looked for


class ClassifyingSampler(GivenSampler):
    """Implements contracts.Classifier and contracts.Conditional: its images are those that it is given, with
    the classes that it takes them for."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__(network, kind, ())
        self.network: Classifier = network  # type: ignore[assignment]

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.to(self.device))
        return logits

    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """As `GivenSampler`. With classes, the image of seed s is the one among the 64 samples from number
        64 * s on which the model takes for its class most surely."""
        labels = None
        if classes is not None:
            no_draws = SampleRandomness([])
            labels = labels_of(len(seeds), classes, self.network.classes, no_draws, self.device)
        if labels is None or self._data is None:
            return super().draw(seeds, truncation=truncation)
        data = self._data
        found = [self._surest(data, seed, label) for seed, label in zip(seeds, labels.tolist(), strict=True)]
        return replace(super().draw(found, truncation=truncation), labels=labels)

    def _surest(self, data: DataSet, seed: int, label: int) -> int:
        """Returns the number of the sample, of those that the seed stands for, that is most surely of this
        class."""
        numbers = [(seed * _LOOKED + place) % len(data) for place in range(min(_LOOKED, len(data)))]
        chances = self.classify(data.batch(numbers).images).log_softmax(dim=1)
        return numbers[int(chances[:, label].argmax())]

    def _made(self, given: Batch, randomness: SampleRandomness) -> Fakes:
        features = self.network.features(given.images)
        return Fakes(given.images, self.network.label(features).argmax(dim=1), features)
