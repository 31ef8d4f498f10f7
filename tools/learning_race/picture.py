"""The curves of a race as a picture: a row a metric, over images and over seconds; means over seeds as lines,
their ranges as bands, and what the reals score among themselves as a grey line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tools.learning_race.curves import Curve
from tools.learning_race.verdicts import AXES, common_end, metrics_of

_WIDTH, _HEIGHT, _EDGE, _HEAD = 460, 260, 52, 40
_COLORS = ("#1f4e9c", "#d62728", "#2a7f3f", "#b8860b", "#7b3fa0", "#008b8b")
_PLACES = 60
Box = tuple[int, int]


@dataclass(frozen=True)
class Band:
    """Mean, least and largest over an entrant's seeds at `places`, those that all of them have come to."""

    places: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def picture(curves: Sequence[Curve], floor: Mapping[str, float]) -> np.ndarray[Any, Any]:
    """[H, W, 3] uint8."""
    metrics, entrants = metrics_of(curves), list(dict.fromkeys(curve.entrant for curve in curves))
    sheet = Image.new("RGB", (2 * _WIDTH, _HEAD + max(len(metrics), 1) * _HEIGHT), "white")
    draw = ImageDraw.Draw(sheet, "RGBA")
    across = 8.0
    for number, entrant in enumerate(entrants):
        draw.text((across, 12), entrant, fill=_color(number))
        across += draw.textlength(entrant) + 24
    for row, metric in enumerate(metrics):
        for column, axis in enumerate(AXES):
            bands = [band([c for c in curves if c.entrant == entrant], metric, axis) for entrant in entrants]
            corner = column * _WIDTH, _HEAD + row * _HEIGHT
            _panel(draw, corner, f"{metric} over {axis}", bands, floor.get(metric))
    return np.asarray(sheet)


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


def _color(number: int) -> str:
    return _COLORS[number % len(_COLORS)]


def _panel(
    draw: ImageDraw.ImageDraw, corner: Box, title: str, bands: Sequence[Band], floor: float | None
) -> None:
    x, y = corner
    draw.text((x + _EDGE, y + 2), title, fill="black")
    values = [v for b in bands for v in (*b.low, *b.high)] + ([] if floor is None else [floor])
    ends = [b.places[-1] for b in bands if b.places]
    if not values or not ends or max(ends) <= 0:
        return
    low, high, end = min(values), max(values), max(ends)
    high = high if high > low else low + 1.0
    width, height = _WIDTH - _EDGE - 16, _HEIGHT - 48

    def place(at: float, value: float) -> tuple[float, float]:
        return x + _EDGE + width * at / end, y + 20 + height * (high - value) / (high - low)

    draw.rectangle((*place(0, high), *place(end, low)), outline="#cccccc")
    for value in (low, (low + high) / 2, high):
        draw.text((x + 2, place(0, value)[1] - 6), f"{value:.4g}", fill="#666666")
    for at in (0.0, end / 2, end):
        draw.text((place(at, low)[0] - 14, place(at, low)[1] + 4), f"{at:.4g}", fill="#666666")
    if floor is not None:
        draw.line((place(0, floor), place(end, floor)), fill="#999999")
    for number, one in enumerate(bands):
        if len(one.places) > 1:
            _draw_band(draw, one, place, _color(number))


def _draw_band(draw: ImageDraw.ImageDraw, one: Band, place: Any, color: str) -> None:
    upper = [place(at, value) for at, value in zip(one.places, one.high, strict=True)]
    lower = [place(at, value) for at, value in zip(one.places, one.low, strict=True)]
    draw.polygon([*upper, *reversed(lower)], fill=f"{color}30")
    line = [place(at, value) for at, value in zip(one.places, one.mean, strict=True)]
    draw.line(line, fill=color, width=2)
