"""What the metrics need of a set of images, gathered in one pass over it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.evaluation.moments import FEATURE_SIZE, FeatureMoments
from pipeline.evaluation.msssim import PairSimilarity
from pipeline.evaluation.plan import Needs
from pipeline.evaluation.swd import Descriptors

CHANNELS = 3


class Extractor(Protocol):
    """What turns images into features; digest: the sha256 of its weights."""

    digest: str

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 RGB [N, 3, H, W] -> (features [N, 2048], logits [N, 1008])."""
        ...


def as_rgb(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 3, H, W]: grey is repeated, so that every metric sees RGB."""
    return images.expand(-1, CHANNELS, -1, -1)


class Statistics:
    """Gathers `needs` from images in their order.

    moments, descriptors, similarity: None unless needed. Images beyond a kind's count do not enter it,
    so that a figure does not depend on what else is measured.
    """

    def __init__(
        self,
        needs: Needs,
        spec: ImageSpec,
        extractor: Extractor | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.needs, self.spec, self._extractor, self._device = needs, spec, extractor, device
        self._seen = 0
        self.moments = FeatureMoments(FEATURE_SIZE) if needs.inception else None
        self.similarity = PairSimilarity() if needs.similarity else None
        self.descriptors = (
            Descriptors(needs.swd, CHANNELS, spec.height, spec.width, seed) if needs.swd else None
        )
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, images: Tensor) -> None:
        """Adds uint8 images [N, C, H, W] of any device."""
        rgb = as_rgb(images).to(self._device)
        if self.descriptors is not None:
            self.descriptors.add(rgb)
        if self.similarity is not None:
            self.similarity.add(self._part(rgb, self.needs.similarity))
        if self.moments is not None:
            self._look(self._part(rgb, self.needs.inception))
        self._seen += len(rgb)

    def features(self) -> Tensor:
        """[N, 2048] float32, if kept."""
        return torch.cat(self._features)

    def logits(self) -> Tensor:
        """[N, 1008] float32, if kept."""
        return torch.cat(self._logits)

    def _part(self, images: Tensor, count: int) -> Tensor:
        return images[: max(count - self._seen, 0)]

    def _look(self, images: Tensor) -> None:
        if not len(images):
            return
        if self._extractor is None or self.moments is None:
            raise ValueError("Inception statistics need an extractor")
        features, logits = self._extractor(images)
        self.moments.add(features)
        if self.needs.features:
            self._features.append(features)
        if self.needs.logits:
            self._logits.append(logits)
