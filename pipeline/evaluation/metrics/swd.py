"""The sliced Wasserstein distance of patches (Karras et al. 2018, section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown
from pipeline.evaluation.metrics.needs import Block, Fact, Keeper, Look, Needs, Reals, Statistic, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.contracts import ImageSpec
    from pipeline.evaluation.arithmetic.swd import Descriptors, Distances
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked, Settings


@dataclass(frozen=True)
class Patches:
    """The patches of a block, one tensor [n * 128, C, 49] float32 for each level of the pyramid. `seed`
    determines where they lie."""

    images: int
    seed: int

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        from pipeline.evaluation.arithmetic.swd import PatchCutter

        cutter = PatchCutter(self.images, spec.height, spec.width, self.seed)

        def look(block: Block) -> Sequence[Tensor]:
            return cutter.cut(block.up_to(self.images), block.first)

        return look


@dataclass(frozen=True)
class Described:
    """The patches of a whole set, kept on disk until they are compared."""

    view: Patches

    def keeper(self, spec: ImageSpec) -> Keeper[Descriptors]:
        """See `Statistic`."""
        return _DescribedKeeper(self.view.images, spec)


class _DescribedKeeper:
    def __init__(self, count: int, spec: ImageSpec) -> None:
        from pipeline.evaluation.arithmetic.swd import Descriptors
        from pipeline.evaluation.features.extractor import CHANNELS

        self._descriptors = Descriptors(count, CHANNELS, spec.height, spec.width)

    def add(self, seen: Sequence[Tensor]) -> None:
        self._descriptors.add(seen)

    def value(self) -> Descriptors:
        return self._descriptors


@dataclass(frozen=True)
class Floor(Fact):
    """`distances` between two halves of the reals for each of `sides`: what even a perfect generator would
    score."""

    view: Patches
    kind = "swd-floor"

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """See `Fact`."""
        return (Described(self.view),)

    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        """See `Fact`."""
        return {"count": self.view.images, "seed": self.view.seed}

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        import torch

        from pipeline.evaluation.arithmetic.swd import split_distance

        halves = split_distance(reals.gathered(Described(self.view)), self.view.seed, reals.device)
        return {
            "sides": torch.tensor(list(halves.levels)),
            "distances": torch.tensor(list(halves.levels.values()), dtype=torch.float64),
        }


def _reals(figures: Mapping[str, Any]) -> str:
    if "floor" not in figures:
        return ""
    floor = figures["floor"]
    return f"; two halves of the reals ({floor.get('count')} each) are {floor['value']:.4g} apart"


class SlicedWasserstein(Metric):
    """SWD of two sets of the same size: there are never more fakes than reals."""

    name, title = "swd", "sliced Wasserstein distance"
    shown = Shown("SWD", "x1000", reals=_reals)
    standard, whole = 8192, False  # Karras et al. took 16,384
    moved_by = ("seed",)

    def least_side(self, settings: Settings) -> int:
        """See `Metric`."""
        from pipeline.evaluation.arithmetic.pyramid import SMALLEST_SIDE

        return SMALLEST_SIDE

    def count(self, asked: Asked) -> int:
        """See `Metric`."""
        return min(super().count(asked), asked.reals)

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        patches = self._patches(asked)
        return Needs((Described(patches),), (Floor(patches),), (Described(patches),))

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """See `Metric`."""
        return {"seed": asked.settings.seed}

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        from pipeline.evaluation.arithmetic.swd import Distances, sliced_wasserstein

        patches = self._patches(compared.asked)
        ours, theirs = compared.fakes(Described(patches)), compared.reals(Described(patches))
        floor = compared.fact(Floor(patches))
        between = sliced_wasserstein(ours, theirs, patches.seed, compared.device)
        sides = [int(side) for side in floor["sides"]]
        halves = Distances(dict(zip(sides, floor["distances"].tolist(), strict=True)))
        return {**_told(between), "floor": {**_told(halves), "count": theirs.count // 2}}

    def _patches(self, asked: Asked) -> Patches:
        return Patches(self.count(asked), asked.settings.seed)


def _told(distances: Distances) -> Figures:
    return {"value": distances.value, "levels": {str(side): d for side, d in distances.levels.items()}}
