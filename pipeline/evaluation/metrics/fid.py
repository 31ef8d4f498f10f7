"""The Frechet distance between the features of two sets (Heusel et al. 2017, section 3), overall and within
each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.by_features import FeatureMetric, KnownFeatures, KnownMoments, Moments
from pipeline.evaluation.metrics.metric import Figures, Shown
from pipeline.evaluation.metrics.needs import Needs, Rows

if TYPE_CHECKING:
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked


class FrechetDistance(FeatureMetric):
    """The Frechet distance of features, by default of Inception's."""

    name, title = "fid", "Frechet distance"
    shown = Shown("FID", reals=lambda _: "; the reals themselves: 0")
    extractor, weights = "inception", "Inception"
    by_class = True

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        ours, theirs = self.of_fakes(asked), self.of_reals(asked)
        needs = Needs((Moments(ours),), (KnownMoments(theirs),))
        return needs + Needs((Rows(ours),), (KnownFeatures(theirs),)) if asked.settings.per_class else needs

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """See `Metric`."""
        within = {"per_class": True} if asked.settings.per_class else {}
        return {**super().identity(asked, extractors), **within}

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        from pipeline.evaluation.arithmetic.frechet import frechet_distance
        from pipeline.evaluation.arithmetic.moments import FeatureMoments

        asked = compared.asked
        ours = compared.fakes(Moments(self.of_fakes(asked)))
        theirs = FeatureMoments.from_tensors(compared.fact(KnownMoments(self.of_reals(asked))))
        value = frechet_distance(ours.gaussian(), theirs.gaussian())
        classes = {"classes": self._within_classes(compared)} if asked.settings.per_class else {}
        return {"value": value, "reals": theirs.count, **classes}

    def _within_classes(self, compared: Compared) -> dict[str, Any]:
        """The distance within each class that has at least two fakes and two reals."""
        from pipeline.evaluation.arithmetic.frechet import frechet_within

        view = self.of_fakes(compared.asked)
        fakes = compared.fakes(Rows(view))
        reals = compared.fact(KnownFeatures(self.of_reals(compared.asked)))["features"]
        labels = compared.fake_classes(view.images), compared.real_classes()
        classes: dict[str, Any] = {}
        for number, name in enumerate(compared.class_names):
            ours, theirs = ([at for at, label in enumerate(some) if label == number] for some in labels)
            if min(len(ours), len(theirs)) >= 2:
                distance = frechet_within(fakes[ours], reals[theirs])
                classes[name] = {"value": distance, "count": len(ours), "reals": len(theirs)}
        return classes
