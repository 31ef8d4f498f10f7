"""The Inception score (Salimans et al. 2016, section 4): high if the classifier is confident about each image
and the images cover many classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.evaluation.metrics.by_features import FeatureMetric, Logits
from pipeline.evaluation.metrics.metric import Figures, Shown
from pipeline.evaluation.metrics.needs import Needs, Rows

if TYPE_CHECKING:
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Asked


class InceptionScore(FeatureMetric):
    """The Inception score, in the mean over ten splits."""

    name, title = "is", "Inception score"
    shown = Shown("IS", better="higher is better")
    extractor, weights = "inception", "Inception"
    logits = True

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        return Needs((self._rows(asked),))

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        # This needs an optional library, which other metrics do without.
        from pipeline.evaluation.arithmetic.scores import inception_score

        return inception_score(compared.fakes(self._rows(compared.asked)))

    def _rows(self, asked: Asked) -> Rows:
        return Rows(Logits(self.extractor_in(asked.settings), self.count(asked)))
