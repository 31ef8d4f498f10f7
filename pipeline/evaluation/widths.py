"""Quality over the width of the averaged generator: a table and a picture of results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.evaluation.metrics.registry import about
from pipeline.evaluation.results import Result
from pipeline.evaluation.table import results_table
from pipeline.images.codec import Pixels

OWN = "own"
"""What the family's own average is called among the widths."""

Results = Mapping[float | None, Result]
"""A result for each width; None: the family's own average."""

_WIDE, _HIGH, _EDGE, _RIGHT, _TEXT, _COLUMNS = 440, 300, 48, 92, 12, 2
_LINE, _GREY = "#1f4e9c", "#888888"


def widths_table(results: Results) -> str:
    """One line for each width, and each metric; footnotes as in `results_table`."""
    names = [OWN if width is None else f"{width:g}" for width in results]
    return results_table(list(results.values()), names, "width")


def widths_picture(results: Results, title: str) -> Pixels:
    """A panel for each metric: its value over the width, which is logarithmic, with the range over seeds if
    it is known; dashed: the family's own average. [H, W, 3] uint8."""
    panels = [
        (name, head, part)
        for name in sorted({name for result in results.values() for name in result.metrics})
        for head, part in zip(about(name).heads, about(name).parts, strict=True)
    ]
    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // _COLUMNS)
    canvas = Image.new("RGB", (columns * _WIDE, rows * _HIGH + 2 * _TEXT), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_TEXT)
    draw.text((_TEXT, _TEXT // 2), title, "black", font)
    for place, (name, head, part) in enumerate(panels):
        corner = (place % _COLUMNS * _WIDE, place // _COLUMNS * _HIGH + 2 * _TEXT)
        _Panel(draw, font, corner).show(
            f"{head} ({about(name).better})",
            {width: r.metrics[name] for width, r in results.items() if name in r.metrics},
            part,
            about(name).scale,
        )
    return np.asarray(canvas)


class _Panel:
    """One metric's curve, with its upper left corner at `corner`."""

    def __init__(self, draw: ImageDraw.ImageDraw, font: Any, corner: tuple[int, int]) -> None:
        self._draw, self._font, self._corner = draw, font, corner

    def show(
        self, title: str, figures: Mapping[float | None, Mapping[str, Any]], part: str, scale: float
    ) -> None:
        def value(width: float | None, key: str = part) -> float:
            return float(figures[width][key]) * scale

        widths = sorted(width for width in figures if width is not None)
        ends = [
            (value(w, "low"), value(w, "high")) if {"low", "high"} <= figures[w].keys() else (value(w),) * 2
            for w in widths
        ]
        values = [value(width) for width in figures] + [end for pair in ends for end in pair]
        place = self._places(widths, min(values), max(values))
        x, y = self._corner
        self._draw.text((x + _TEXT, y), title, "black", self._font)
        if None in figures:
            self._level(place, value(None))
        points = [place(width, value(width)) for width in widths]
        self._draw.line(points, _LINE, 2)
        for width, (across, down), pair in zip(widths, points, ends, strict=True):
            self._draw.line([place(width, end) for end in pair], _LINE)
            self._draw.ellipse((across - 3, down - 3, across + 3, down + 3), _LINE)
            self._draw.text((across - 10, down - 18), f"{value(width):.4g}", _LINE, self._font)
            self._draw.text((across - 10, y + _HIGH - _EDGE + 12), f"{width:g}", "black", self._font)

    def _places(self, widths: list[float], least: float, most: float) -> Any:
        """A function from width and value to pixels."""
        x, y = self._corner
        first, last = math.log(widths[0]), math.log(widths[-1])
        reach, span = last - first or 1.0, most - least or 1.0

        def place(width: float, value: float) -> tuple[float, float]:
            right = (math.log(width) - first) / reach if last > first else 0.5
            up = (value - least) / span
            return (
                x + _EDGE + right * (_WIDE - _EDGE - _RIGHT),
                y + _HIGH - _EDGE - up * (_HIGH - 2 * _EDGE),
            )

        return place

    def _level(self, place: Any, value: float) -> None:
        x, _ = self._corner
        left, right = x + _EDGE, x + _WIDE - _RIGHT
        _, down = place(1.0, value)
        for start in range(left, right, 8):
            self._draw.line((start, down, start + 4, down), _GREY)
        self._draw.text((right + 12, down - 7), f"{OWN} {value:.4g}", _GREY, self._font)
