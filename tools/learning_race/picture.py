"""The curves of a race as a picture: a row a metric, over images and over seconds; means over seeds as lines,
their ranges as bands, and what the reals score among themselves as a grey line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.images import charts
from pipeline.images.charts import COLORS, Chart, charts_picture
from pipeline.images.codec import Pixels
from tools.learning_race.curves import Curve
from tools.learning_race.verdicts import AXES, common_end, metrics_of

_PLACES = 60


@dataclass(frozen=True)
class Band:
    """Mean, least and largest over an entrant's seeds at `places`, those that all of them have come to."""

    places: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def picture(curves: Sequence[Curve], floor: Mapping[str, float]) -> Pixels:
    """[H, W, 3] uint8."""
    entrants = list(dict.fromkeys(curve.entrant for curve in curves))
    colors = {entrant: COLORS[number % len(COLORS)] for number, entrant in enumerate(entrants)}
    panels = [
        Chart(
            f"{metric} over {axis}",
            [
                _drawn(band([c for c in curves if c.entrant == entrant], metric, axis), color)
                for entrant, color in colors.items()
            ],
            level=floor.get(metric),
            level_name="reals",
        )
        for metric in metrics_of(curves)
        for axis in AXES
    ]
    return charts_picture(panels, columns=len(AXES), legend=colors)


def band(curves: Sequence[Curve], metric: str, axis: str) -> Band:
    """The band of one entrant."""
    end = common_end(curves, axis)
    rows = []
    for place in np.linspace(0, end, _PLACES):
        values = [curve.value(metric, axis, float(place)) for curve in curves]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            rows.append((float(place), sum(known) / len(known), min(known), max(known)))
    return Band(*zip(*rows, strict=True)) if rows else Band((), (), (), ())


def _drawn(one: Band, color: str) -> charts.Curve:
    points = list(zip(one.places, one.mean, strict=True))
    return charts.Curve(points, color, list(zip(one.low, one.high, strict=True)))
