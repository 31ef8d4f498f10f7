"""The simulation as a picture: seconds for 1,000 images over GPUs, a panel a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.images.charts import COLORS, Chart, Curve, charts_picture
from pipeline.images.codec import Pixels
from tools.research.scale.model import ScaleRow

_SCALINGS = {"strong": COLORS[0], "weak": COLORS[1]}
_IDEAL = "#bbbbbb"


def picture(rows: Sequence[ScaleRow]) -> Pixels:
    """[H, W, 3] uint8. Both axes are logarithmic; grey: each line's first point without any loss."""
    legend = {f"{scaling} scaling": color for scaling, color in _SCALINGS.items()}
    families = dict.fromkeys(one.family for one in rows)
    return charts_picture(
        [_chart([one for one in rows if one.family == family]) for family in families], legend=legend
    )


def _chart(rows: Sequence[ScaleRow]) -> Chart:
    ticks = sorted({one.gpus for one in rows})[::3]
    curves = [
        curve
        for scaling, color in _SCALINGS.items()
        for curve in _curves([one for one in rows if one.scaling == scaling], color)
    ]
    return Chart(f"{rows[0].family}: s/kimg over GPUs", curves, ticks, logarithmic="xy")


def _curves(line: Sequence[ScaleRow], color: str) -> Iterator[Curve]:
    if not line:
        return
    start = line[0]
    yield Curve([(one.gpus, start.seconds_per_kimg * start.gpus / one.gpus) for one in line], _IDEAL)
    told = [f"{one.seconds_per_kimg:.3g}" if one in (start, line[-1]) else "" for one in line]
    yield Curve([(one.gpus, one.seconds_per_kimg) for one in line], color, labels=told)
