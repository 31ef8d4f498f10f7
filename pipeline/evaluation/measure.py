"""From gathered statistics to figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.frechet import frechet_distance
from pipeline.evaluation.msssim import WINDOW, scale_exponents
from pipeline.evaluation.plan import INCEPTION_METRICS, Needs, Settings
from pipeline.evaluation.pyramid import SMALLEST_SIDE
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.statistics import Statistics
from pipeline.evaluation.swd import Distances, sliced_wasserstein

T = TypeVar("T")


def how_measured(metric: str, needs: Needs, data: str, extractor: str | None, seed: int) -> dict[str, Any]:
    """What decides a figure beside the snapshot: `count` of fakes, `data` (the index's digest), and the
    extractor's digest or the seed of patches and directions."""
    if metric in INCEPTION_METRICS:
        return {"count": needs.inception, "data": data, "extractor": extractor}
    if metric == "swd":
        return {"count": needs.swd, "data": data, "seed": seed}
    return {"count": needs.similarity, "data": data}


def check_size(metrics: Iterable[str], spec: ImageSpec, where: str) -> None:
    """UserError if images are too small for a metric."""
    side = min(spec.height, spec.width)
    for metric, least in (("swd", SMALLEST_SIDE), ("msssim", WINDOW)):
        if metric in metrics and side < least:
            raise UserError(f"{where}: images of {side} pixels; {metric} needs at least {least}")


def measure(
    metrics: Iterable[str], fakes: Statistics, reference: Reference, settings: Settings
) -> dict[str, dict[str, Any]]:
    """The figures by metric, as the result file has them."""
    return {metric: _figure(metric, fakes, reference, settings) for metric in metrics}


def _figure(metric: str, fakes: Statistics, reference: Reference, settings: Settings) -> dict[str, Any]:
    if metric == "fid":
        return _fid(fakes, reference)
    if metric == "swd":
        return _swd(fakes, reference, settings)
    return _msssim(fakes, reference) if metric == "msssim" else _of_features(metric, fakes, reference)


def _of_features(metric: str, fakes: Statistics, reference: Reference) -> dict[str, Any]:
    # An optional library stands behind these; the other metrics do without.
    from pipeline.evaluation.metrics import inception_score, kernel_distance, precision_recall

    if metric == "is":
        return inception_score(fakes.logits())
    compare = kernel_distance if metric == "kid" else precision_recall
    return compare(fakes.features(), _given(reference.features))


def _fid(fakes: Statistics, reference: Reference) -> dict[str, Any]:
    ours, theirs = _given(fakes.moments), _given(reference.moments)
    return {"value": frechet_distance(ours.gaussian(), theirs.gaussian()), "reals": theirs.count}


def _swd(fakes: Statistics, reference: Reference, settings: Settings) -> dict[str, Any]:
    ours, theirs, floor = _given(fakes.descriptors), _given(reference.descriptors), _given(reference.floor)
    distances = sliced_wasserstein(ours, theirs, settings.seed, settings.device)
    return {**_distances(distances), "floor": {**_distances(floor), "count": theirs.count // 2}}


def _distances(distances: Distances) -> dict[str, Any]:
    return {"value": distances.value, "levels": {str(side): d for side, d in distances.levels.items()}}


def _msssim(fakes: Statistics, reference: Reference) -> dict[str, Any]:
    found = _given(fakes.similarity)
    return {
        "value": found.value,
        "pairs": found.pairs,
        "exponents": list(scale_exponents(fakes.spec.height, fakes.spec.width)),
        "reals": {"value": _given(reference.similarity), "count": reference.needs.similarity},
    }


def _given(part: T | None) -> T:
    assert part is not None, "the plan asks for what the metrics need"
    return part
