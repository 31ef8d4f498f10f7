"""The table that people read: columns in the registry's order, what is better, where the reals are."""

from __future__ import annotations

from typing import Any

from pipeline.evaluation.results import Result
from pipeline.evaluation.table import results_table

METRICS: dict[str, dict[str, Any]] = {
    "vendi": {"value": 7.0},  # of a later version
    "msssim": {"value": 0.25, "reals": {"value": 0.3125, "count": 20}},
    "swd": {"value": 20.125, "floor": {"value": 14.4, "count": 10}},
    "ppl-w": {"value": 123.456},
    "dc": {"value": 0.9, "density": 0.8, "coverage": 0.9},
    "pr-inception": {"value": 0.5, "precision": 0.75, "recall": 0.375},
    "is": {"value": 2.5},
    "kid": {"value": 0.0123, "spread": 0.0004},
    "fid-dinov2": {"value": 812.5},
    "fid": {"value": 31.25, "reals": 70},
}
HEADS = (
    "images seen, FID, FID dinov2, KID x1000, IS, precision inception, recall inception, density, coverage, "
    "PPL w, SWD x1000, MS-SSIM, vendi"
)
UNTRAINED = (
    "0, 31.25 (1.00x), 812.5 (1.00x), 12.3 +-0.4 (1.00x), 2.5 (1.00x), 0.75 (1.00x), 0.375 (1.00x), "
    "0.8 (1.00x), 0.9 (1.00x), 123.5 (1.00x), 20.12 (1.00x), 0.25 (1.00x), 7 (1.00x)"
)
TRAINED = (
    "8,000, 15.62 (0.50x), 406.2 (0.50x), 6.15 +-0.2 (0.50x), 1.25 (0.50x), 0.375 (0.50x), 0.1875 (0.50x), "
    "0.4 (0.50x), 0.45 (0.50x), 61.73 (0.50x), 10.06 (0.50x), 0.125 (0.50x), 3.5 (0.50x)"
)
NOTES = """\
(x): ratio to the untrained generator
FID: lower is better; the reals themselves: 0
FID dinov2: lower is better; the reals themselves: 0
KID x1000: lower is better; the reals themselves: 0
IS: higher is better
precision inception, recall inception: higher is better, at most 1
density, coverage: higher is better; other reals: near 1 and 0.97
PPL w: lower is better
SWD x1000: lower is better; two halves of the reals (10 each) are 14.4 apart
MS-SSIM: best near the reals: 0.3125 (of 20)
vendi: lower is better"""


def halved(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value / 2 if isinstance(value, float) else value for key, value in figures.items()}


def test_a_table_of_every_kind_of_column() -> None:
    """As it has always been printed, to the character: columns are aligned to the right, two spaces apart."""
    better = {name: halved(figures) for name, figures in METRICS.items()}
    told = results_table([Result(0, "a", METRICS), Result(8000, "b", better)])
    rows = [line.split(", ") for line in (HEADS, UNTRAINED, TRAINED)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    assert told == "\n".join([*lines, NOTES])


def test_what_is_not_measured_is_a_dash() -> None:
    some = {"pr": {"value": 0.5, "precision": 0.75, "recall": 0.375}, "class_accuracy": {"value": 0.75}}
    some["class_accuracy"]["reals"] = {"value": 0.96, "count": 20}  # type: ignore[assignment]
    lines = results_table([Result(8, "a", {"pr": some["pr"]}), Result(16, "b", some)]).splitlines()
    assert lines[0].split("  ")[-1] == "class accuracy"
    assert lines[1].split()[-1] == "-"
    assert lines[-1] == (
        "class accuracy: higher is better; reals that the classifier did not learn: 0.96 (of 20)"
    )
