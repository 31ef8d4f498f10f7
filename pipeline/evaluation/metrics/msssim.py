"""The mean MS-SSIM of pairs of images (Wang et al. 2003; Odena et al. 2017): a measure of diversity, best
when it equals that of the reals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.metric import Figures, Metric, Shown
from pipeline.evaluation.metrics.needs import Fact, Look, Needs, Reals, Rows, Statistic, Tensors

if TYPE_CHECKING:
    from pipeline.contracts import ImageSpec
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked, Settings


@dataclass(frozen=True)
class Pairs:
    """The similarities of images (0, 1), (2, 3), ...: [n // 2] float64."""

    images: int

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        from pipeline.evaluation.arithmetic.msssim import pair_similarities

        return lambda block: [pair_similarities(block.up_to(self.images))]


@dataclass(frozen=True)
class RealSimilarity(Fact):
    """`value`, the mean over pairs of reals."""

    view: Pairs
    kind = "msssim"

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """See `Fact`."""
        return (Rows(self.view),)

    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        """See `Fact`."""
        return {"count": self.view.images}

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        return {"value": reals.gathered(Rows(self.view)).mean()}


def _reals(figures: Mapping[str, Any]) -> str:
    if "reals" not in figures:
        return ""
    reals = figures["reals"]
    return f": {reals['value']:.4g} (of {reals.get('count')})"


class PairSimilarity(Metric):
    """The mean MS-SSIM of pairs of fakes, beside that of pairs of reals."""

    name, title = "msssim", "similarity of pairs"
    shown = Shown("MS-SSIM", better="best near the reals", reals=_reals)
    standard, whole = 2000, False  # 1,000 pairs put its standard error near .005

    def least_side(self, settings: Settings) -> int:
        """See `Metric`."""
        from pipeline.evaluation.arithmetic.msssim import WINDOW

        return WINDOW

    def count(self, asked: Asked) -> int:
        """See `Metric`."""
        return super().count(asked) // 2 * 2

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        return Needs((self._of_fakes(asked),), (self._of_reals(asked),))

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        from pipeline.evaluation.arithmetic.msssim import scale_exponents

        similarities = compared.fakes(self._of_fakes(compared.asked))
        reals = self._of_reals(compared.asked)
        return {
            "value": float(similarities.mean()),
            "pairs": len(similarities),
            "exponents": list(scale_exponents(compared.spec.height, compared.spec.width)),
            "reals": {"value": float(compared.fact(reals)["value"]), "count": reals.view.images},
        }

    def _of_fakes(self, asked: Asked) -> Rows:
        return Rows(Pairs(self.count(asked)))

    def _of_reals(self, asked: Asked) -> RealSimilarity:
        return RealSimilarity(Pairs(min(self.count(asked), asked.reals) // 2 * 2))
