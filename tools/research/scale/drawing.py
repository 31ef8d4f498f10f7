"""The simulation as a picture: seconds for 1,000 images over GPUs, a panel a configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tools.research.scale.model import ScaleRow

_SIDE, _HEAD, _EDGE = 320, 34, 40
_COLORS = {"strong": "#1f4e9c", "weak": "#d62728"}


def picture(rows: Sequence[ScaleRow]) -> np.ndarray[Any, Any]:
    """[H, W, 3] uint8. Both axes are logarithmic; grey: each line's first point without any loss."""
    names = list(dict.fromkeys(one.family for one in rows))
    columns = min(len(names), 2)
    height = -(-len(names) // columns) * (_SIDE + _HEAD)
    sheet = Image.new("RGB", (columns * _SIDE, height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, name in enumerate(names):
        corner = (place % columns * _SIDE, place // columns * (_SIDE + _HEAD))
        _panel(draw, [one for one in rows if one.family == name], corner)
    return np.asarray(sheet)


def _panel(draw: ImageDraw.ImageDraw, rows: Sequence[ScaleRow], corner: tuple[int, int]) -> None:
    x, y = corner
    draw.text((x + 6, y + 4), f"{rows[0].family}: s/kimg over GPUs", fill="black")
    for number, (scaling, color) in enumerate(_COLORS.items()):
        draw.text((x + 6 + 130 * number, y + 18), f"{scaling} scaling", fill=color)
    most = max(one.seconds_per_kimg for one in rows)
    least = min(one.seconds_per_kimg for one in rows) / 2
    first, last = min(one.gpus for one in rows), max(one.gpus for one in rows) + 1

    def place(gpus: float, seconds: float) -> tuple[float, float]:
        inner = _SIDE - 2 * _EDGE
        right = math.log(gpus / first) / math.log(last / first)
        up = math.log(seconds / least) / math.log(2 * most / least)
        return x + _EDGE + right * inner, y + _HEAD + _SIDE - _EDGE - up * inner

    for gpus in sorted({one.gpus for one in rows})[::3]:
        across, down = place(gpus, least)
        draw.text((across - 8, down + 4), str(gpus), fill="#666666")
    for scaling, color in _COLORS.items():
        line = [one for one in rows if one.scaling == scaling]
        if not line:
            continue
        start = line[0]
        ideal = [place(one.gpus, start.seconds_per_kimg * start.gpus / one.gpus) for one in line]
        points = [place(one.gpus, one.seconds_per_kimg) for one in line]
        if len(line) > 1:
            draw.line(ideal, fill="#bbbbbb")
            draw.line(points, fill=color)
        for across, down in points:
            draw.ellipse((across - 2, down - 2, across + 2, down + 2), fill=color)
        for one in (line[0], line[-1]):
            across, down = place(one.gpus, one.seconds_per_kimg)
            draw.text((across - 10, down - 14), f"{one.seconds_per_kimg:.3g}", fill=color)
