"""Quality over the width of the averaged generator: a table and a picture of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.metrics.registry import about
from pipeline.evaluation.results import Result
from pipeline.evaluation.table import results_table
from pipeline.images.charts import Chart, Curve, charts_picture
from pipeline.images.codec import Pixels

OWN = "own"
"""What the family's own average is called among the widths."""

Results = Mapping[float | None, Result]
"""A result for each width; None: the family's own average."""


def widths_table(results: Results) -> str:
    """One line for each width, and each metric; footnotes as in `results_table`."""
    names = [OWN if width is None else f"{width:g}" for width in results]
    return results_table(list(results.values()), names, "width")


def widths_picture(results: Results, title: str) -> Pixels:
    """A panel for each metric: its value over the width, which is logarithmic, with the range over seeds if
    it is known; dashed: the family's own average. [H, W, 3] uint8."""
    charts = [
        _chart(
            f"{head} ({about(name).better})",
            {width: r.metrics[name] for width, r in results.items() if name in r.metrics},
            part,
            about(name).scale,
        )
        for name in sorted({name for result in results.values() for name in result.metrics})
        for head, part in zip(about(name).heads, about(name).parts, strict=True)
    ]
    return charts_picture(charts, title=title)


def _chart(title: str, figures: Mapping[float | None, Mapping[str, Any]], part: str, scale: float) -> Chart:
    """One metric's curve."""

    def value(width: float | None, key: str = part) -> float:
        return float(figures[width][key]) * scale

    widths = sorted(width for width in figures if width is not None)
    ranged = all({"low", "high"} <= figures[width].keys() for width in widths)
    curve = Curve(
        [(width, value(width)) for width in widths],
        ranges=[(value(width, "low"), value(width, "high")) for width in widths] if ranged else (),
        labels=[f"{value(width):.4g}" for width in widths],
    )
    own = value(None) if None in figures else None
    name = "" if own is None else f"{OWN} {own:.4g}"
    return Chart(title, [curve], ticks=widths, level=own, level_name=name, logarithmic="x")
