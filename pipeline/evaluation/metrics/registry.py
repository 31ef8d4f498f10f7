"""The metrics by name. A new one is one more entry here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.evaluation.metrics.accuracy import Accuracy
from pipeline.evaluation.metrics.by_features import FeatureMetric
from pipeline.evaluation.metrics.class_accuracy import ClassAccuracy
from pipeline.evaluation.metrics.cmmd import ClipDiscrepancy
from pipeline.evaluation.metrics.convergence import Convergence
from pipeline.evaluation.metrics.equivariance import EQUIVARIANCE
from pipeline.evaluation.metrics.fid import FrechetDistance
from pipeline.evaluation.metrics.inception_score import InceptionScore
from pipeline.evaluation.metrics.kid import KernelDistance
from pipeline.evaluation.metrics.likelihood import BitsPerDim, Evidence
from pipeline.evaluation.metrics.metric import Metric, Shown
from pipeline.evaluation.metrics.msssim import PairSimilarity
from pipeline.evaluation.metrics.neighbourhoods import DensityCoverage, PrecisionRecall
from pipeline.evaluation.metrics.path_length import PathLength
from pipeline.evaluation.metrics.reconstruction import (
    PeakSignal,
    PerceivedError,
    ReconstructedFrechet,
    ReconstructedWasserstein,
)
from pipeline.evaluation.metrics.swd import SlicedWasserstein

if TYPE_CHECKING:
    from pipeline.evaluation.settings import Settings

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        FrechetDistance(),
        KernelDistance(),
        InceptionScore(),
        PrecisionRecall(),
        DensityCoverage(),
        ClipDiscrepancy(),
        PathLength("z"),
        PathLength("w"),
        *EQUIVARIANCE,
        SlicedWasserstein(),
        PairSimilarity(),
        ClassAccuracy(),
        PeakSignal(),
        PerceivedError(),
        ReconstructedFrechet(),
        ReconstructedWasserstein(),
        Evidence(),
        BitsPerDim(),
        Accuracy(),
        Convergence(),
    )
}
"""The metrics by name, in the order in which they are measured and shown."""

PLAIN = tuple(name for name, metric in METRICS.items() if metric.plain)
"""The metrics that work on any two sets of images, without weights, generator or labels."""

_ALL_PARTS = dict.fromkeys(part for metric in METRICS.values() for part in metric.shown.parts)
PARTS = tuple(part for part in _ALL_PARTS if part != "value")
"""The keys, other than `value`, under which the main figures of a metric stand."""

MOVED_BY = tuple(dict.fromkeys(key for metric in METRICS.values() for key in metric.moved_by))
"""The keys of `Metric.identity` that change a figure, besides data, count and sets."""

_ONLY_EXTRACTOR = "inception"  # the extractor of results too old to name one


def base_of(name: str) -> str:
    """The metric of METRICS that a name in a result stands for: fid-dinov2 -> fid; the name itself if there
    is none."""
    bases = [base for base in METRICS if name == base or name.startswith(f"{base}-")]
    return max(bases, key=len, default=name)


def about(name: str) -> Shown:
    """How to present what is called `name` in a result, which a later version may have written."""
    base = base_of(name)
    return METRICS[base].shown if base in METRICS else Shown(base)


def name_of(metric: Metric, extractor: str | None) -> str:
    """The name of `metric` in results: with features other than those of the metric's own extractor, the
    extractor's name is appended."""
    if not isinstance(metric, FeatureMetric) or extractor == metric.extractor:
        return metric.name
    return f"{metric.name}-{extractor}"


def by_name(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The content of a result file under today's names: files once held `pr` and `dc` of Inception's features
    under those plain names."""
    return {
        name_of(METRICS[name], figures.get("extractor_name", _ONLY_EXTRACTOR))
        if name in METRICS
        else name: figures
        for name, figures in metrics.items()
    }


def can_rank(name: str) -> bool:
    """Whether figures called `name` in a result can be ordered from worse to better."""
    return base_of(name) in METRICS and about(name).better != "best near the reals"


def parse_metrics(words: str | Iterable[str]) -> tuple[str, ...]:
    """`"fid,swd"` -> ("fid", "swd"), in the order of METRICS, without repetition. UserError for an unknown
    name, with the nearest one."""
    names = [word.strip().lower() for word in (words.split(",") if isinstance(words, str) else words)]
    for name in names:
        if name not in METRICS:
            raise UserError(f"--metrics: unknown metric {name!r}; {_allowed(name, METRICS)}")
    return tuple(name for name in METRICS if name in names)


def check_ranking(name: str | None, where: str) -> None:
    """Raises UserError unless figures called `name` in results, such as fid-dinov2, can say which snapshot is
    best. `where` is the setting that holds the name; None is allowed and names no metric."""
    if name is None or can_rank(name):
        return
    known = base_of(name) in METRICS
    why = "does not say which of two is better" if known else "unknown metric"
    raise UserError(f"{where}={name}: {why}; {_allowed(name, filter(can_rank, METRICS))}")


def _allowed(name: str, names: Iterable[str]) -> str:
    allowed = list(names)
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"allowed: {', '.join(allowed)}" + (f"; did you mean {near[0]}?" if near else "")


def extractors_of(settings: Settings) -> tuple[str, ...]:
    """The extractors that the settings' metrics use, without repetition."""
    names = (METRICS[name].extractor_in(settings) for name in settings.metrics)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def names_help() -> str:
    """The metrics grouped by what they need, in one line."""
    groups = groupby(METRICS.values(), lambda metric: (metric.plain, metric.wants))
    return ", ".join(_names(some) + ("" if plain else f" ({wants})") for (plain, wants), some in groups)


def counts_help() -> str:
    """How many images each metric takes by default, in one line."""
    groups = groupby(METRICS.values(), lambda metric: (metric.standard, metric.whole))
    return ", ".join(
        f"{standard:,} for {_names(some)}" + (" (of shards: all)" if whole else "")
        for (standard, whole), some in groups
    )


def _names(metrics: Iterable[Metric]) -> str:
    return ",".join(metric.name for metric in metrics)
