"""Figures from what was gathered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from pipeline.evaluation.compared import Compared
from pipeline.evaluation.features.extractor import Extractor
from pipeline.evaluation.metrics.metric import Figures, Metric
from pipeline.evaluation.metrics.registry import METRICS, PARTS
from pipeline.evaluation.settings import Asked


def how_measured(metric: Metric, asked: Asked, data: str, extractors: Mapping[str, Extractor]) -> Figures:
    """What determines a figure besides the snapshot: the `count` of fakes, the number of sets (`seeds`),
    `data` (the index's digest), `inputs` (that of others which fakes are made of), and the metric's own
    identity."""
    seeds = asked.settings.seeds
    return {
        **({} if metric.generator else {"data": data}),
        **({} if asked.settings.inputs is None else {"inputs": asked.settings.inputs}),
        # Older figures over several sets are measured again: those sets were not distinct.
        **{"seeds": seeds, **({"seed_bits": 64} if seeds > 1 else {})},
        **metric.identity(asked, extractors),
        "count": metric.count(asked),
    }


def measure(metrics: Iterable[str], compared: Compared) -> dict[str, Figures]:
    """The figures by metric, on the first process. All processes must call it."""
    figures = {}
    for name in metrics:
        if METRICS[name].shared or compared.peers.rank == 0:
            figures[name] = METRICS[name].figure(compared)
    return figures if compared.peers.rank == 0 else {}


def joined(sets: Sequence[Mapping[str, Any]]) -> Figures:
    """The figures of several sets of fakes as one: means over the sets, their standard deviation (`spread`),
    and the value of each set. Everything else is taken from the first set."""
    first = dict(sets[0])
    if len(sets) == 1:
        return first
    for key in ("value", *PARTS):
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
