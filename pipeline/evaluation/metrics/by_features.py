"""What the metrics of features share: views through an extractor, and facts about the features of the
reals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.metrics.metric import Figures, Metric
from pipeline.evaluation.metrics.needs import Block, Fact, Keeper, Look, Reals, Rows, Statistic, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.contracts import ImageSpec
    from pipeline.evaluation.arithmetic.moments import FeatureMoments
    from pipeline.evaluation.features.extractor import Extractor
    from pipeline.evaluation.settings import Asked, Settings


@dataclass(frozen=True)
class Features:
    """An extractor's features of a block: [n, D] float32."""

    extractor: str
    images: int

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        return lambda block: [block.extracted(self.extractor, self.images)[0]]


@dataclass(frozen=True)
class Logits:
    """An extractor's logits for a block: [n, classes] float32."""

    extractor: str
    images: int

    def opened(self, spec: ImageSpec) -> Look:
        """See `View`."""
        return self._look

    def _look(self, block: Block) -> Sequence[Tensor]:
        logits = block.extracted(self.extractor, self.images)[1]
        if logits is None:
            raise ValueError("logits were asked of an extractor that has none")
        return [logits]


@dataclass(frozen=True)
class Moments:
    """Sums over the features, float64, from which a normal distribution is fitted."""

    view: Features

    def keeper(self, spec: ImageSpec) -> Keeper[FeatureMoments]:
        """See `Statistic`."""
        return _MomentsKeeper()


class _MomentsKeeper:
    def __init__(self) -> None:
        self._moments: FeatureMoments | None = None

    def add(self, seen: Sequence[Tensor]) -> None:
        from pipeline.evaluation.arithmetic.moments import FeatureMoments

        (features,) = seen
        if self._moments is None:
            self._moments = FeatureMoments(features.shape[1])
        self._moments.add(features)

    def value(self) -> FeatureMoments:
        assert self._moments is not None, "a set holds images"
        return self._moments


@dataclass(frozen=True)
class _OfFeatures(Fact):
    """A fact about the features of all reals."""

    view: Features

    def key(self, extractors: Mapping[str, Extractor]) -> Mapping[str, Any]:
        extractor = extractors[self.view.extractor]
        return {"extractor": extractor.digest, "resize": extractor.resize}


@dataclass(frozen=True)
class KnownMoments(_OfFeatures):
    """`FeatureMoments.tensors` of the reals."""

    kind = "moments"

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """See `Fact`."""
        return (Moments(self.view),)

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        return reals.gathered(Moments(self.view)).tensors()


@dataclass(frozen=True)
class KnownFeatures(_OfFeatures):
    """`features` [M, D] of the reals."""

    kind = "features"

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        """See `Fact`."""
        return (Rows(self.view),)

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        return {"features": reals.gathered(Rows(self.view))}


@dataclass(frozen=True)
class KnownNeighbours(_OfFeatures):
    """`distances` [M, 5] from each real to its five nearest other reals, see `neighbour_distances`."""

    kind, shared = "neighbours", True

    @property
    def facts(self) -> tuple[Fact, ...]:
        """See `Fact`."""
        return (KnownFeatures(self.view),)

    def make(self, reals: Reals) -> Tensors:
        """See `Fact`."""
        from pipeline.evaluation.arithmetic.neighbours import neighbour_distances

        first = reals.peers.rank == 0
        features = reals.fact(KnownFeatures(self.view))["features"] if first else None
        features = reals.peers.from_first(features)
        assert features is not None, "gathered or recalled before"
        return {"distances": neighbour_distances(features, reals.peers, reals.device)}


class FeatureMetric(Metric):
    """A metric of features. `extractor` names the one that published figures use; `--extractor` chooses
    another."""

    extractor: str
    moved_by = ("extractor", "resize")

    def extractor_in(self, settings: Settings) -> str:
        """See `Metric`."""
        return settings.extractor.name or self.extractor

    def of_fakes(self, asked: Asked) -> Features:
        """The view of the fakes' features that the metric uses."""
        return Features(self.extractor_in(asked.settings), self.count(asked))

    def of_reals(self, asked: Asked) -> Features:
        """The view of the reals' features that the metric uses: those of all reals."""
        return Features(self.extractor_in(asked.settings), asked.reals)

    def identity(self, asked: Asked, extractors: Mapping[str, Extractor]) -> Figures:
        """See `Metric`."""
        extractor = extractors[self.extractor_in(asked.settings)]
        return {
            "extractor": extractor.digest,
            "extractor_name": extractor.name,
            "resize": extractor.resize,
        }
