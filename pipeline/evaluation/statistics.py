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
from pipeline.evaluation.plan import Extraction, Needs
from pipeline.evaluation.swd import Descriptors, PatchCutter

CHANNELS = 3
Seen = Mapping[str, Tensor]


class Extractor(Protocol):
    """What turns images into features. A user's own is made by `factory(device)`, with the torch.device to
    compute on.

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
        self,
        needs: Needs,
        spec: ImageSpec,
        extractors: Mapping[str, Extractor],
        seed: int,
        device: torch.device,
    ) -> None:
        self._needs, self._extractors, self._device = needs, extractors, device
        self._cutter = PatchCutter(needs.swd, spec.height, spec.width, seed) if needs.swd else None

    def look(self, images: Tensor, first: int) -> Seen:
        """uint8 images [N, C, H, W] of any device, the first of which has the even place `first` in its set:
        whatever of `features <extractor>`, `logits <extractor>`, `similarity` and `patches-<level>` is
        needed, on the CPU."""
        # Of one layout in memory, or drawn and stored images would be rounded differently.
        needs, rgb = self._needs, as_rgb(images.contiguous()).to(self._device)
        seen: dict[str, Tensor] = {}
        if self._cutter is not None and first < needs.swd:
            levels = self._cutter.cut(rgb, first)
            seen.update({_level_name(number): level for number, level in enumerate(levels)})
        if first < needs.similarity:
            seen["similarity"] = pair_similarities(rgb[: needs.similarity - first])
        for name, wanted in needs.extracted.items():
            if first < wanted.images:
                seen.update(self._extract(name, wanted, rgb[: wanted.images - first]))
        return seen

    def _extract(self, name: str, wanted: Extraction, images: Tensor) -> Seen:
        features, logits = self._extractors[name](images)
        if not wanted.logits:
            return {f"features {name}": features}
        if logits is None:
            raise ValueError("logits were asked of an extractor that has none")
        return {f"features {name}": features, f"logits {name}": logits}


class Extracted:
    """What one extractor saw of a set. moments: None unless wanted."""

    def __init__(self, wanted: Extraction, size: int) -> None:
        self._wanted = wanted
        self.moments = FeatureMoments(size) if wanted.moments else None
        self._features: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, features: Tensor, logits: Tensor | None) -> None:
        """Adds the next images' features [N, D] and logits [N, classes]."""
        if self.moments is not None:
            self.moments.add(features)
        if self._wanted.features:
            self._features.append(features)
        if logits is not None:
            self._logits.append(logits)

    def features(self) -> Tensor:
        """[N, D] float32, if wanted."""
        return torch.cat(self._features)

    def logits(self) -> Tensor:
        """[N, classes] float32, if wanted."""
        return torch.cat(self._logits)


class Statistics:
    """Takes in what was seen of a set, block by block in order.

    extracted: by extractor. descriptors: None unless needed. feature_sizes: of each extractor.
    """

    def __init__(self, needs: Needs, spec: ImageSpec, feature_sizes: Mapping[str, int]) -> None:
        self.needs, self.spec = needs, spec
        self.extracted = {
            name: Extracted(wanted, feature_sizes[name]) for name, wanted in needs.extracted.items()
        }
        self.descriptors = Descriptors(needs.swd, CHANNELS, spec.height, spec.width) if needs.swd else None
        self._similarities: list[Tensor] = []

    def add(self, seen: Seen) -> None:
        """Adds what an `Observer` saw of the next block."""
        for name, extracted in self.extracted.items():
            if f"features {name}" in seen:
                extracted.add(seen[f"features {name}"], seen.get(f"logits {name}"))
        if "similarity" in seen:
            self._similarities.append(seen["similarity"])
        if self.descriptors is not None and _level_name(0) in seen:
            levels = range(len(self.descriptors.sides))
            self.descriptors.add([seen[_level_name(number)] for number in levels])

    def similarities(self) -> Tensor:
        """[pairs] float64."""
        return torch.cat(self._similarities)


def _level_name(number: int) -> str:
    return f"patches-{number}"
