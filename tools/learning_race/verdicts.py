"""Who learns better: entrants at equal images and at equal seconds, over their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy import stats

from tools.learning_race.curves import Curve, badness

AXES = ("images", "seconds")
SURE = 0.05
"""Below this chance that equal entrants differ so much, a difference is more than the spread."""


@dataclass(frozen=True)
class Standing:
    """One entrant's figure at one place: mean and range over `seeds`; `values` by seed."""

    axis: str
    at: float
    metric: str
    entrant: str
    mean: float
    low: float
    high: float
    values: Mapping[int, float]

    @property
    def seeds(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Duel:
    """Two entrants at one place. wins: in how many of the seeds that both have `one` is better than `other`.
    chance: by Welch's test (1947) of the two means, how likely entrants that are equal differ so much; None
    with less than two seeds each. better: the name of the better one if that is less than 5%, else ""."""

    axis: str
    at: float
    metric: str
    one: str
    other: str
    wins: int
    pairs: int
    chance: float | None
    better: str


def common_end(curves: Sequence[Curve], axis: str, wanted: float = 0.0) -> float:
    """Where all are compared: at `wanted`, or as far as all have come."""
    reached = min((curve.end(axis) for curve in curves), default=0.0)
    return min(wanted, reached) if wanted else reached


def standings(curves: Sequence[Curve], axis: str, at: float) -> list[Standing]:
    """A standing for each metric and entrant that has one there."""
    found = []
    for metric in metrics_of(curves):
        for entrant in dict.fromkeys(curve.entrant for curve in curves):
            values = {
                curve.seed: value
                for curve in curves
                if curve.entrant == entrant and (value := curve.value(metric, axis, at)) is not None
            }
            if values:
                mean = sum(values.values()) / len(values)
                low, high = min(values.values()), max(values.values())
                found.append(Standing(axis, at, metric, entrant, mean, low, high, values))
    return found


def duels(curves: Sequence[Curve], found: Sequence[Standing]) -> list[Duel]:
    """Every two entrants, for each metric."""
    measured = []
    for metric in dict.fromkeys(standing.metric for standing in found):
        figures = next(
            point.figures[metric] for curve in curves for point in curve.points if metric in point.figures
        )
        for one, other in combinations([s for s in found if s.metric == metric], 2):
            bad = [
                {seed: badness(metric, figures, value) for seed, value in standing.values.items()}
                for standing in (one, other)
            ]
            measured.append(_duel(one, other, *bad))
    return measured


def _duel(one: Standing, other: Standing, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Duel:
    both = [seed for seed in ours if seed in theirs]
    wins = sum(ours[seed] < theirs[seed] for seed in both)
    chance = welch(list(ours.values()), list(theirs.values()))
    better = ""
    if chance is not None and chance < SURE:
        first = sum(ours.values()) / len(ours) < sum(theirs.values()) / len(theirs)
        better = one.entrant if first else other.entrant
    return Duel(one.axis, one.at, one.metric, one.entrant, other.entrant, wins, len(both), chance, better)


def welch(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The two-sided chance of Welch's test; None for less than two values on a side. Values that are all the
    same on both sides are equal (1) or differ for certain (0)."""
    if min(len(one), len(other)) < 2:
        return None
    if len(set(one)) == len(set(other)) == 1:
        return float(one[0] == other[0])
    chance = float(stats.ttest_ind(one, other, equal_var=False).pvalue)
    return None if math.isnan(chance) else chance


def metrics_of(curves: Sequence[Curve]) -> list[str]:
    """All metrics that were measured, in the order in which they were."""
    names = [name for curve in curves for point in curve.points for name in point.figures]
    return list(dict.fromkeys(names))
