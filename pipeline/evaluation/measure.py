"""From gathered statistics to figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, TypeVar

from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.frechet import frechet_distance, frechet_within
from pipeline.evaluation.lpips import perceptual_digest
from pipeline.evaluation.msssim import WINDOW, scale_exponents
from pipeline.evaluation.names import FEATURE_METRICS, NEIGHBOUR_METRICS, PATH_METRICS
from pipeline.evaluation.neighbours import (
    Meeting,
    density_coverage,
    meet,
    neighbour_distances,
    precision_recall,
)
from pipeline.evaluation.peers import Peers
from pipeline.evaluation.plan import Needs, Settings
from pipeline.evaluation.pyramid import SMALLEST_SIDE
from pipeline.evaluation.reference import Known, Reference
from pipeline.evaluation.statistics import Extracted, Extractor, Statistics
from pipeline.evaluation.swd import Distances, sliced_wasserstein

T = TypeVar("T")
Figures = dict[str, Any]

_LEAST_SIDES = (("ppl-z", 16), ("ppl-w", 16), ("swd", SMALLEST_SIDE), ("msssim", WINDOW))
SPREAD_OF = ("value", "precision", "recall", "density", "coverage")


def how_measured(
    metric: str, needs: Needs, data: str, extractors: Mapping[str, Extractor], settings: Settings
) -> Figures:
    """What decides a figure beside the snapshot: `count` of fakes, sets of them (`seeds`), `data` (the
    index's digest), and the extractor, the seed of patches and directions, or how paths are taken."""
    # Figures of several sets from before the sets differed do not stand.
    sets = {"seeds": settings.seeds, **({"seed_bits": 64} if settings.seeds > 1 else {})}
    common = {"data": data, **sets}
    if metric in FEATURE_METRICS:
        name = settings.extractor_of(metric)
        extractor = extractors[name]
        by = {"extractor": extractor.digest, "extractor_name": extractor.name, "resize": extractor.resize}
        per_class = {"per_class": True} if metric == "fid" and settings.per_class else {}
        return {**common, **by, **per_class, "count": needs.extracted[name].images}
    if metric in PATH_METRICS:
        paths = settings.paths
        return {
            **sets,
            "count": needs.paths,
            "sampling": paths.sampling,
            "crop": paths.crop,
            "perceptual": perceptual_digest(paths.weights),
        }
    if metric == "swd":
        return {**common, "count": needs.swd, "seed": settings.seed}
    return {**common, "count": needs.similarity}


def check_size(metrics: Iterable[str], spec: ImageSpec, where: str, *, crop: bool = False) -> None:
    """UserError if images are too small for a metric. crop: path lengths look at half a side, see `paths`."""
    side = min(spec.height, spec.width)
    for metric, smallest in _LEAST_SIDES:
        least = 2 * smallest if crop and metric in PATH_METRICS else smallest
        if metric in metrics and side < least:
            raise UserError(f"{where}: images of {side} pixels; {metric} needs at least {least}")


def measure(
    metrics: Iterable[str],
    fakes: Statistics | None,
    fake_labels: Sequence[int] | None,
    reference: Reference,
    settings: Settings,
    peers: Peers,
) -> dict[str, Figures]:
    """The figures by metric, on the first process, where `fakes` is what was gathered; all processes must
    call it. fake_labels: the class of each fake, for fid within classes."""
    metrics = tuple(metrics)
    figures = _by_neighbours(metrics, fakes, reference, settings, peers)
    if fakes is None:
        return {}
    for metric in metrics:
        if metric not in PATH_METRICS and metric not in figures:
            figures[metric] = _figure(metric, fakes, reference, settings)
    if settings.per_class and "fid" in metrics:
        name = settings.extractor_of("fid")
        labels = _given(fake_labels)[: fakes.needs.extracted[name].images], _given(reference.labels_here)
        features = fakes.extracted[name].features(), _given(reference.by[name].features)
        figures["fid"]["classes"] = _per_class(*features, *labels, reference.class_names)
    return {metric: figures[metric] for metric in metrics if metric in figures}


def _figure(metric: str, fakes: Statistics, reference: Reference, settings: Settings) -> Figures:
    if metric == "swd":
        return _swd(fakes, reference, settings)
    if metric == "msssim":
        return _msssim(fakes, reference)
    name = settings.extractor_of(metric)
    seen = fakes.extracted[name]
    if metric == "fid":
        return _fid(seen, reference.by[name])
    # An optional library stands behind these; the other metrics do without.
    from pipeline.evaluation.metrics import inception_score, kernel_distance

    if metric == "is":
        return inception_score(seen.logits())
    return kernel_distance(seen.features(), _given(reference.by[name].features))


def _by_neighbours(
    metrics: Sequence[str], fakes: Statistics | None, reference: Reference, settings: Settings, peers: Peers
) -> dict[str, Figures]:
    """Precision and recall, density and coverage: work for all processes."""
    found: dict[str, Figures] = {}
    for name, some in settings.by_extractor().items():
        wanted = [metric for metric in some if metric in NEIGHBOUR_METRICS and metric in metrics]
        if wanted:
            seen = None if fakes is None else fakes.extracted[name]
            meeting = _meeting(seen, reference.by[name], settings, peers)
            if meeting is not None:
                kinds = {"pr": precision_recall, "dc": density_coverage}
                found.update({metric: kinds[metric](meeting) for metric in wanted})
    return found


def _meeting(fakes: Extracted | None, reals: Known, settings: Settings, peers: Peers) -> Meeting | None:
    """Both sets by one extractor, on the first process."""
    ours = peers.from_first(None if fakes is None else fakes.features())
    theirs, around_theirs = peers.from_first((reals.features, reals.around))
    around_ours = peers.from_first(neighbour_distances(_given(ours), peers, settings.device))
    return meet(_given(ours), _given(theirs), around_ours, _given(around_theirs), peers, settings.device)


def _fid(fakes: Extracted, reals: Known) -> Figures:
    ours, theirs = _given(fakes.moments), _given(reals.moments)
    return {"value": frechet_distance(ours.gaussian(), theirs.gaussian()), "reals": theirs.count}


def _per_class(
    fakes: Tensor,
    reals: Tensor,
    fake_labels: Sequence[int],
    real_labels: Sequence[int],
    names: Sequence[str],
) -> dict[str, Figures]:
    """FID within each class of which there are two fakes and two reals at least."""
    found: dict[str, Figures] = {}
    for number, name in enumerate(names):
        ours = [place for place, label in enumerate(fake_labels) if label == number]
        theirs = [place for place, label in enumerate(real_labels) if label == number]
        if min(len(ours), len(theirs)) >= 2:
            distance = frechet_within(fakes[ours], reals[theirs])
            found[name] = {"value": distance, "count": len(ours), "reals": len(theirs)}
    return found


def _swd(fakes: Statistics, reference: Reference, settings: Settings) -> Figures:
    ours, theirs, floor = _given(fakes.descriptors), _given(reference.descriptors), _given(reference.floor)
    distances = sliced_wasserstein(ours, theirs, settings.seed, settings.device)
    return {**_distances(distances), "floor": {**_distances(floor), "count": theirs.count // 2}}


def _distances(distances: Distances) -> Figures:
    return {"value": distances.value, "levels": {str(side): d for side, d in distances.levels.items()}}


def _msssim(fakes: Statistics, reference: Reference) -> Figures:
    found = fakes.similarities()
    return {
        "value": float(found.mean()),
        "pairs": len(found),
        "exponents": list(scale_exponents(fakes.spec.height, fakes.spec.width)),
        "reals": {"value": _given(reference.similarity), "count": reference.needs.similarity},
    }


def joined(sets: Sequence[Mapping[str, Any]]) -> Figures:
    """The figures of several sets of fakes as one: means over the sets, `spread` (their standard deviation)
    and each set's own value; whatever else is the first set's."""
    first = dict(sets[0])
    if len(sets) == 1:
        return first
    for key in SPREAD_OF:
        if key in first:
            first[key] = fmean(one[key] for one in sets)
    values = [one["value"] for one in sets]
    levels = {side: fmean(one["levels"][side] for one in sets) for side in first.get("levels", {})}
    return {
        **first,
        **({"levels": levels} if levels else {}),
        "spread": stdev(values),
        "low": min(values),
        "high": max(values),
        "by_set": values,
    }


def _given(part: T | None) -> T:
    assert part is not None, "the plan asks for what the metrics need"
    return part
