"""What the metrics need of a set of images, gathered in one pass over it.

The pass has two halves: `Observer` looks at a block of images, in any process; `Statistics` takes in what was
seen of the blocks, in their order, in the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.evaluation.moments import FeatureMoments
from pipeline.evaluation.msssim import pair_similarities
from pipeline.evaluation.plan import Needs
from pipeline.evaluation.swd import Descriptors, PatchCutter

CHANNELS = 3
Seen = Mapping[str, Tensor]


class Extractor(Protocol):
    """What turns images into features.

    name: in results. digest: of its weights, which every cached statistic and every result names. resize: how
    it brings images to its own size, in words; part of the same. size: features an image. has_logits: gives
    class logits, which the Inception score is made from.
    """

    name: str
    digest: str
    resize: str
    size: int
    has_logits: bool

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 RGB [N, 3, H, W] -> features [N, size], logits [N, classes] or None; float32 on the CPU."""
        ...


def as_rgb(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 3, H, W]: grey is repeated, so that every metric sees RGB."""
    return images.expand(-1, CHANNELS, -1, -1)


class Observer:
    """Looks at images for `needs`. Images beyond a kind's count do not enter it, so that a figure does not
    depend on what else is measured."""

    def __init__(
        self, needs: Needs, spec: ImageSpec, extractor: Extractor | None, seed: int, device: torch.device
    ) -> None:
        self._needs, self._extractor, self._device = needs, extractor, device
        self._cutter = PatchCutter(needs.swd, spec.height, spec.width, seed) if needs.swd else None

    def look(self, images: Tensor, first: int) -> Seen:
        """uint8 images [N, C, H, W] of any device, the first of which has the even place `first` in its set:
        whatever of `features`, `logits`, `similarity` and `patches-<level>` is needed, on the CPU."""
        needs, rgb = self._needs, as_rgb(images).to(self._device)
        seen: dict[str, Tensor] = {}
        if self._cutter is not None and first < needs.swd:
            levels = self._cutter.cut(rgb, first)
            seen.update({_level_name(number): level for number, level in enumerate(levels)})
        if first < needs.similarity:
            seen["similarity"] = pair_similarities(rgb[: needs.similarity - first])
        if first < needs.extracted:
            seen.update(self._extract(rgb[: needs.extracted - first]))
        return seen

    def _extract(self, images: Tensor) -> Seen:
        if self._extractor is None:
            raise ValueError("features need an extractor")
        features, logits = self._extractor(images)
        if not self._needs.logits:
            return {"features": features}
        if logits is None:
            raise ValueError("logits were asked of an extractor that has none")
        return {"features": features, "logits": logits}


class Statistics:
    """Takes in what was seen of a set, block by block in order.

    moments, descriptors: None unless needed. feature_size: of the extractor.
    """

    def __init__(self, needs: Needs, spec: ImageSpec, feature_size: int) -> None:
        self.needs, self.spec = needs, spec
        self.moments = FeatureMoments(feature_size) if needs.extracted else None
        self.descriptors = Descriptors(needs.swd, CHANNELS, spec.height, spec.width) if needs.swd else None
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._similarities: list[Tensor] = []

    def add(self, seen: Seen) -> None:
        """Adds what an `Observer` saw of the next block."""
        if self.moments is not None and "features" in seen:
            self.moments.add(seen["features"])
            if self.needs.features:
                self._features.append(seen["features"])
            if self.needs.logits:
                self._logits.append(seen["logits"])
        if "similarity" in seen:
            self._similarities.append(seen["similarity"])
        if self.descriptors is not None and _level_name(0) in seen:
            levels = range(len(self.descriptors.sides))
            self.descriptors.add([seen[_level_name(number)] for number in levels])

    def features(self) -> Tensor:
        """[N, D] float32, if kept."""
        return torch.cat(self._features)

    def logits(self) -> Tensor:
        """[N, classes] float32, if kept."""
        return torch.cat(self._logits)

    def similarities(self) -> Tensor:
        """[pairs] float64."""
        return torch.cat(self._similarities)


def _level_name(number: int) -> str:
    return f"patches-{number}"
