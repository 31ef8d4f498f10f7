"""The metrics by name. A new one is one more entry here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.evaluation.metrics.by_features import FeatureMetric
from pipeline.evaluation.metrics.class_accuracy import ClassAccuracy
from pipeline.evaluation.metrics.cmmd import ClipDiscrepancy
from pipeline.evaluation.metrics.fid import FrechetDistance
from pipeline.evaluation.metrics.inception_score import InceptionScore
from pipeline.evaluation.metrics.kid import KernelDistance
from pipeline.evaluation.metrics.metric import Metric, Shown
from pipeline.evaluation.metrics.msssim import PairSimilarity
from pipeline.evaluation.metrics.neighbourhoods import DensityCoverage, PrecisionRecall
from pipeline.evaluation.metrics.path_length import PathLength
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
        SlicedWasserstein(),
        PairSimilarity(),
        ClassAccuracy(),
    )
}
"""In the order in which they are measured and shown."""

PLAIN = tuple(name for name, metric in METRICS.items() if metric.plain)
"""Those that can be measured of any two sets of images, anywhere."""

_ALL_PARTS = dict.fromkeys(part for metric in METRICS.values() for part in metric.shown.parts)
PARTS = tuple(part for part in _ALL_PARTS if part != "value")
"""Keys of figures that people know metrics by, instead of by `value`."""

MOVED_BY = tuple(dict.fromkeys(key for metric in METRICS.values() for key in metric.moved_by))
"""What moves a figure beside data, count and sets."""

_ONLY_EXTRACTOR = "inception"  # of figures from before results named it


def base_of(name: str) -> str:
    """fid-dinov2 -> fid: which of METRICS a name in a result stands for; itself if none."""
    bases = [base for base in METRICS if name == base or name.startswith(f"{base}-")]
    return max(bases, key=len, default=name)


def about(name: str) -> Shown:
    """How people are told of what has `name` in a result, which a later version may have written."""
    base = base_of(name)
    return METRICS[base].shown if base in METRICS else Shown(base)


def name_of(metric: Metric, extractor: str | None) -> str:
    """In results: of other features than the metric's standard, figures have names of their own."""
    if not isinstance(metric, FeatureMetric) or extractor == metric.extractor:
        return metric.name
    return f"{metric.name}-{extractor}"


def by_name(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What a result file holds, by the names of now: `pr` and `dc` by Inception once stood there as such."""
    return {
        name_of(METRICS[name], figures.get("extractor_name", _ONLY_EXTRACTOR))
        if name in METRICS
        else name: figures
        for name, figures in metrics.items()
    }


def can_rank(name: str) -> bool:
    """Whether better and worse mean something for what has `name` in a result."""
    return base_of(name) in METRICS and about(name).better != "best near the reals"


def parse_metrics(words: str | Iterable[str]) -> tuple[str, ...]:
    """`"fid,swd"` -> ("fid", "swd"), in the order of METRICS, each once. UserError names the nearest."""
    names = [word.strip().lower() for word in (words.split(",") if isinstance(words, str) else words)]
    for name in names:
        if name not in METRICS:
            raise UserError(f"--metrics: unknown metric {name!r}; {_allowed(name, METRICS)}")
    return tuple(name for name in METRICS if name in names)


def check_ranking(name: str | None, where: str) -> None:
    """UserError unless what is called `name` in results, such as fid-dinov2, can say which snapshot is best.
    where: the setting that names it; None names none."""
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
    """Whose features the settings' metrics look at, each once."""
    names = (METRICS[name].extractor_in(settings) for name in settings.metrics)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def names_help() -> str:
    """The metrics by what they need, in one line."""
    groups = groupby(METRICS.values(), lambda metric: (metric.plain, metric.wants))
    return ", ".join(_names(some) + ("" if plain else f" ({wants})") for (plain, wants), some in groups)


def counts_help() -> str:
    """How many images each takes unless it is told, in one line."""
    groups = groupby(METRICS.values(), lambda metric: (metric.standard, metric.whole))
    return ", ".join(
        f"{standard:,} for {_names(some)}" + (" (of shards: all)" if whole else "")
        for (standard, whole), some in groups
    )


def _names(metrics: Iterable[Metric]) -> str:
    return ",".join(metric.name for metric in metrics)
