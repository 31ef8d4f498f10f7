"""The kernel distance between the features of two sets (Binkowski et al. 2018, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.by_features import FeatureMetric, KnownFeatures
from pipeline.evaluation.metrics.metric import Figures, Shown
from pipeline.evaluation.metrics.needs import Needs, Rows

if TYPE_CHECKING:
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Asked


class KernelDistance(FeatureMetric):
    """The kernel distance of features, by default of Inception's."""

    name, title = "kid", "kernel distance"
    shown = Shown("KID", "x1000", scale=1000, reals=lambda _: "; the reals themselves: 0")
    extractor, weights = "inception", "Inception"

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        return Needs((Rows(self.of_fakes(asked)),), (KnownFeatures(self.of_reals(asked)),))

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        # This needs an optional library, which other metrics do without.
        from pipeline.evaluation.arithmetic.scores import kernel_distance

        reals = compared.fact(KnownFeatures(self.of_reals(compared.asked)))["features"]
        return kernel_distance(compared.fakes(Rows(self.of_fakes(compared.asked))), reals)
