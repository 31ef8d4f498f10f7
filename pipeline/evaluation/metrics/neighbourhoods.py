"""Metrics of nearest neighbours in feature space: precision and recall (Kynkaanniemi et al. 2019, section 3),
and density and coverage (Naeem et al. 2020). All four are computed from the same `Meeting` of fakes and
reals."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.by_features import FeatureMetric, KnownFeatures, KnownNeighbours
from pipeline.evaluation.metrics.metric import Figures, Shown
from pipeline.evaluation.metrics.needs import Needs, Rows

if TYPE_CHECKING:
    from pipeline.evaluation.arithmetic.neighbours import Meeting
    from pipeline.evaluation.compared import Compared
    from pipeline.evaluation.settings import Asked


class _OfMeeting(FeatureMetric):
    """A metric that is computed from a `Meeting`."""

    extractor, weights = "vgg16", "VGG16"
    shared = True

    @abstractmethod
    def of_meeting(self, meeting: Meeting) -> dict[str, Any]:
        """The figures that the metric makes of `meeting`."""

    def needs(self, asked: Asked) -> Needs:
        """See `Metric`."""
        theirs = self.of_reals(asked)
        return Needs((Rows(self.of_fakes(asked)),), (KnownFeatures(theirs), KnownNeighbours(theirs)))

    def figure(self, compared: Compared) -> Figures:
        """See `Metric`."""
        views = self.of_fakes(compared.asked), self.of_reals(compared.asked)
        meeting = compared.once(("meeting", *views), lambda: self._meet(compared))
        return {} if meeting is None else self.of_meeting(meeting)

    def _meet(self, compared: Compared) -> Meeting | None:
        from pipeline.evaluation.arithmetic.neighbours import meet, neighbour_distances

        peers, device = compared.peers, compared.device
        gathered = None
        if peers.rank == 0:
            view = self.of_reals(compared.asked)
            gathered = (
                compared.fakes(Rows(self.of_fakes(compared.asked))),
                compared.fact(KnownFeatures(view))["features"],
                compared.fact(KnownNeighbours(view))["distances"],
            )
        both = peers.from_first(gathered)
        assert both is not None, "the first process has what was gathered"
        ours, theirs, around_theirs = both
        around_ours = peers.from_first(neighbour_distances(ours, peers, device))
        return meet(ours, theirs, around_ours, around_theirs, peers, device)


class PrecisionRecall(_OfMeeting):
    """Improved precision and recall."""

    name, title = "pr", "precision and recall"
    shown = Shown(
        "PR", better="higher is better", parts=("precision", "recall"), reals=lambda _: ", at most 1"
    )

    def of_meeting(self, meeting: Meeting) -> dict[str, Any]:
        """See `_OfMeeting`."""
        from pipeline.evaluation.arithmetic.neighbours import precision_recall

        return precision_recall(meeting)


class DensityCoverage(_OfMeeting):
    """Density and coverage."""

    name, title = "dc", "density and coverage"
    shown = Shown(
        "DC",
        better="higher is better",
        parts=("density", "coverage"),
        # Naeem et al. 2020, section 3.2: the expected values for equal distributions, with k = 5.
        reals=lambda _: "; other reals: near 1 and 0.97",
    )

    def of_meeting(self, meeting: Meeting) -> dict[str, Any]:
        """See `_OfMeeting`."""
        from pipeline.evaluation.arithmetic.neighbours import density_coverage

        return density_coverage(meeting)
