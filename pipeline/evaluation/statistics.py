"""What metrics take of a set of images, gathered in one pass over it.

The pass has two halves: `Observer` looks at a block of images, in any process; `Statistics` takes in what was
seen of the blocks, in their order, in the first.
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
"""By the view's place among those of all statistics, see `views_of`: what it saw of a block."""


def views_of(statistics: Sequence[Statistic[Any]]) -> list[View]:
    """What must be looked at to gather all of these: each view once."""
    return list(dict.fromkeys(statistic.view for statistic in statistics))


class Observer:
    """Looks at images for `statistics`."""

    def __init__(
        self,
        statistics: Sequence[Statistic[Any]],
        spec: ImageSpec,
        extractors: Mapping[str, Extractor],
        device: torch.device,
    ) -> None:
        self._extractors, self._device = extractors, device
        self._views = [(view.images, view.opened(spec)) for view in views_of(statistics)]

    def look(self, images: Tensor, first: int) -> Seen:
        """uint8 images [N, C, H, W] of any device, the first of which has the even place `first` in its set:
        what the views that still want images see of them, on the CPU."""
        # Of one layout in memory, or drawn and stored images would be rounded differently.
        rgb = as_rgb(images.contiguous()).to(self._device)
        block = Block(rgb, first, self._extractors)
        return {number: look(block) for number, (count, look) in enumerate(self._views) if first < count}


class Statistics:
    """Takes in what was seen of a set of images of `spec`, block by block in order."""

    def __init__(self, statistics: Sequence[Statistic[Any]], spec: ImageSpec) -> None:
        self._places = {view: place for place, view in enumerate(views_of(statistics))}
        self._keepers = {statistic: statistic.keeper(spec) for statistic in statistics}

    def add(self, seen: Seen) -> None:
        """Adds what an `Observer` saw of the next block."""
        for statistic, keeper in self._keepers.items():
            place = self._places[statistic.view]
            if place in seen:
                keeper.add(seen[place])

    def of(self, statistic: Statistic[T]) -> T:
        """What was gathered."""
        found: T = self._keepers[statistic].value()
        return found

    def keep(self, statistics: Sequence[Statistic[Any]]) -> None:
        """Lets go of all but these."""
        self._keepers = {statistic: self._keepers[statistic] for statistic in statistics}
