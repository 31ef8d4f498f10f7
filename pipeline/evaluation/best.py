"""The best snapshot of a run by a metric, and whether a run still gets better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config.run import StopConfig
from pipeline.evaluation.metrics.registry import MOVED_BY, about
from pipeline.evaluation.results import Result, read_results
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.ending import Ending

BEST = "best.json"
# The keys of `measure.how_measured` that change a figure.
_SAME_WAY = ("data", "inputs", "count", "seeds", *MOVED_BY)


@dataclass(frozen=True)
class Best:
    """A run's best snapshot by `metric`. `folder` is relative to the run."""

    metric: str
    value: float
    images_seen: int
    snapshot: str
    folder: str


def is_better(metric: str, value: float, than: float, least: float = 0.0) -> bool:
    """Whether `value` improves on `than` by more than the fraction `least` of it."""
    gain = value - than if about(metric).better == "higher is better" else than - value
    return gain > abs(than) * least


def find_best(results: Sequence[Result], metric: str, least: float = 0.0) -> tuple[Best, int] | None:
    """The best snapshot and the images seen of the newest result, among the results measured in the same
    way as the newest; None if there are none. Of equal figures the earliest wins. For `least`, see
    `is_better`."""
    measured = [result for result in results if metric in result.metrics]
    if not measured:
        return None
    newest = measured[-1].metrics[metric]
    same = [
        result
        for result in measured
        if all(result.metrics[metric].get(key) == newest.get(key) for key in _SAME_WAY)
    ]
    best = same[0]
    for result in same[1:]:
        if is_better(metric, result.metrics[metric]["value"], best.metrics[metric]["value"], least):
            best = result
    folder = f"snapshots/{best.images_seen:012d}"
    value = best.metrics[metric]["value"]
    return Best(metric, value, best.images_seen, best.snapshot, folder), measured[-1].images_seen


def find_ending(results: Sequence[Result], stop: StopConfig) -> Ending | None:
    """The reason to end the run, as its settings ask for it, if it has not improved for long enough;
    otherwise None."""
    best_and_newest = (
        find_best(results, stop.metric, stop.least_improvement) if stop.metric is not None else None
    )
    if best_and_newest is None:
        return None
    best, newest = best_and_newest
    if newest - best.images_seen < stop.patience_images:
        return None
    return Ending(
        best.metric, stop.patience_images, stop.least_improvement, best.value, best.images_seen, newest
    )


def mark_best(run: Path, metric: str) -> Best | None:
    """Publishes RUN/best.json from all results of the run. Only one process at a time may call it."""
    best_and_newest = find_best(read_results(run), metric)
    if best_and_newest is None:
        return None
    publish_bytes(run / BEST, (json.dumps(asdict(best_and_newest[0]), indent=1) + "\n").encode())
    return best_and_newest[0]
