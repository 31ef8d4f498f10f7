"""Statistics of a set of images, gathered in one pass.

The pass has two halves. In every process, an `Observer` looks at blocks of images. In the first process,
`Statistics` adds up what was observed, block by block in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.evaluation.features.extractor import Extractor, as_rgb
from pipeline.evaluation.metrics.needs import Block, Statistic, View

T = TypeVar("T")
Seen = Mapping[int, Sequence[Tensor]]
"""What each view observed of a block. The key is the view's place in `views_of`."""


def views_of(statistics: Sequence[Statistic[Any]]) -> list[View]:
    """The views that `statistics` need, without repetition."""
    return list(dict.fromkeys(statistic.view for statistic in statistics))


class Observer:
    """Looks at images on behalf of `statistics`."""

    def __init__(
        self,
        statistics: Sequence[Statistic[Any]],
        spec: ImageSpec,
        extractors: Mapping[str, Extractor],
        device: torch.device,
    ) -> None:
        self._extractors, self._device = extractors, device
        self._views = [(view.images, view.opened(spec)) for view in views_of(statistics)]

    def look(self, images: Tensor, first: int, originals: Tensor | None = None) -> Seen:
        """What the views observe of uint8 images [N, C, H, W], on the CPU. `first` is the place of the first
        image in the set, an even number. `originals`: see `Block`. Views that have seen all the images they
        need are left out."""
        block = Block(
            self._rgb(images), first, self._extractors, None if originals is None else self._rgb(originals)
        )
        return {number: look(block) for number, (count, look) in enumerate(self._views) if first < count}

    def _rgb(self, images: Tensor) -> Tensor:
        # In one memory layout, so that drawn and stored images are rounded alike.
        return as_rgb(images.contiguous()).to(self._device)


class Statistics:
    """Adds up what was observed of a set of images of `spec`, block by block in order."""

    def __init__(self, statistics: Sequence[Statistic[Any]], spec: ImageSpec) -> None:
        self._places = {view: place for place, view in enumerate(views_of(statistics))}
        self._keepers = {statistic: statistic.keeper(spec) for statistic in statistics}

    def add(self, seen: Seen) -> None:
        """Adds what an `Observer` observed of the next block."""
        for statistic, keeper in self._keepers.items():
            place = self._places[statistic.view]
            if place in seen:
                keeper.add(seen[place])

    def of(self, statistic: Statistic[T]) -> T:
        """The value of `statistic`."""
        value: T = self._keepers[statistic].value()
        return value

    def keep(self, statistics: Sequence[Statistic[Any]]) -> None:
        """Drops all statistics but these."""
        self._keepers = {statistic: self._keepers[statistic] for statistic in statistics}
