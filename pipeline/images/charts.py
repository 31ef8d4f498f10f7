"""Charts: curves in panels of one picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.images.codec import Pixels

COLORS = ("#1f4e9c", "#d62728", "#2a7f3f", "#b8860b", "#7b3fa0", "#008b8b")
_GREY, _PALE, _DARK = "#888888", "#cccccc", "#555555"
_WIDE, _HIGH, _TEXT, _LINE, _DASH, _DOT = 440, 290, 12, 18, 4, 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 92, 40, 26  # between a panel's edges and its frame

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One curve. points: (x, y), in the order of x. ranges: the least and largest y at each of them, a band.
    labels: what stands above each, which is then marked by a dot."""

    points: Sequence[Point]
    color: str = COLORS[0]
    ranges: Sequence[Point] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """One panel. ticks: the x that are written under it; without any, both ends and the middle. level: a
    dashed line at this y, with `level_name` beside it. logarithmic: the axes that are, "", "x" or "xy"; their
    values are above zero."""

    title: str
    curves: Sequence[Curve]
    ticks: Sequence[float] = ()
    level: float | None = None
    level_name: str = ""
    logarithmic: str = ""


def charts_picture(
    charts: Sequence[Chart], *, columns: int = 2, title: str = "", legend: Mapping[str, str] | None = None
) -> Pixels:
    """Charts row by row, under a title and the names and colours of `legend`: [H, W, 3] uint8."""
    columns = max(min(len(charts), columns), 1)
    head = _LINE * ((title != "") + bool(legend)) + 6
    size = columns * _WIDE, head + -(-len(charts) // columns) * _HIGH
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas, "RGBA"), ImageFont.load_default(_TEXT)
    draw.text((_TEXT, 4), title, "black", font)
    across = float(_TEXT)
    for name, color in (legend or {}).items():
        draw.text((across, head - _LINE - 2), name, color, font)
        across += draw.textlength(name, font) + 2 * _TEXT
    for place, chart in enumerate(charts):
        _Panel(draw, font, chart, (place % columns * _WIDE, head + place // columns * _HIGH)).draw()
    return np.asarray(canvas)


class _Panel:
    """One chart, with its upper left corner at `corner`."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
        chart: Chart,
        corner: tuple[int, int],
    ) -> None:
        self._draw, self._font, self._chart = draw, font, chart
        self._x, self._y = corner
        xs = [x for curve in chart.curves for x, _ in curve.points]
        ys = [y for curve in chart.curves for _, y in curve.points]
        ys += [end for curve in chart.curves for pair in curve.ranges for end in pair]
        ys += [] if chart.level is None else [chart.level]
        self._empty = not xs
        self._across = _Axis(xs or [1.0], "x" in chart.logarithmic, self._x + _LEFT, self._x + _WIDE - _RIGHT)
        self._up = _Axis(ys or [1.0], "y" in chart.logarithmic, self._y + _HIGH - _BOTTOM, self._y + _TOP)

    def draw(self) -> None:
        chart = self._chart
        self._draw.text((self._x + _TEXT, self._y), chart.title, "black", self._font)
        if self._empty:
            return
        self._frame(chart.ticks or self._across.thirds())
        if chart.level is not None:
            self._level(chart.level, chart.level_name)
        for curve in chart.curves:
            self._curve(curve)

    def _place(self, point: Point) -> Point:
        return self._across(point[0]), self._up(point[1])

    def _frame(self, ticks: Sequence[float]) -> None:
        corners = (self._across.start, self._up.end, self._across.end, self._up.start)
        self._draw.rectangle(corners, outline=_PALE)
        for y in self._up.thirds():
            self._text((self._x + 4, self._up(y) - _TEXT / 2), _told(y), _DARK)
        for x in ticks:
            self._text((self._across(x) - _TEXT, self._up.start + 4), _told(x), _DARK)

    def _level(self, value: float, name: str) -> None:
        down = self._up(value)
        for start in range(int(self._across.start), int(self._across.end), 2 * _DASH):
            self._draw.line((start, down, start + _DASH, down), _GREY)
        self._text((self._across.end + 6, down - _TEXT / 2), name, _GREY)

    def _curve(self, curve: Curve) -> None:
        points = [self._place(point) for point in curve.points]
        if curve.ranges:
            xs = [x for x, _ in curve.points]
            lower, upper = (
                [self._place(point) for point in zip(xs, ends, strict=True)]
                for ends in zip(*curve.ranges, strict=True)
            )
            self._draw.polygon([*upper, *reversed(lower)], fill=f"{curve.color}30")
        self._draw.line(points, curve.color, 2)
        for (x, y), label in zip(points, curve.labels, strict=bool(curve.labels)):
            self._draw.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), curve.color)
            self._text((x - _TEXT, y - _LINE), label, curve.color)

    def _text(self, at: Point, text: str, color: str) -> None:
        self._draw.text(at, text, color, self._font)


class _Axis:
    """Takes the values of an axis to pixels from `start` to `end`."""

    def __init__(self, values: Sequence[float], logarithmic: bool, start: float, end: float) -> None:
        self.start, self.end = start, end
        self._forth: Callable[[float], float] = math.log if logarithmic else float
        self._back: Callable[[float], float] = math.exp if logarithmic else float
        self._first = self._forth(min(values))
        self._reach = self._forth(max(values)) - self._first

    def __call__(self, value: float) -> float:
        share = (self._forth(value) - self._first) / self._reach if self._reach else 0.5
        return self.start + share * (self.end - self.start)

    def thirds(self) -> list[float]:
        """The values at both ends and in the middle; one if all are the same."""
        shares = (0.0, 0.5, 1.0) if self._reach else (0.0,)
        return [self._back(self._first + share * self._reach) for share in shares]


def _told(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
