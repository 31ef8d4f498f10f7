"""Results as a table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.best import base_of
from pipeline.evaluation.plan import METRICS
from pipeline.evaluation.results import Result

_HEADS = {
    "fid": "FID",
    "kid": "KID x1000",
    "is": "IS",
    "ppl-z": "PPL z",
    "ppl-w": "PPL w",
    "swd": "SWD x1000",
    "msssim": "MS-SSIM",
}
_TWO = {"pr": ("precision", "recall"), "dc": ("density", "coverage")}


def results_table(results: Sequence[Result]) -> str:
    """A line a snapshot: images seen, or the file that it was imported from, and each metric, with its ratio
    to the untrained generator's in brackets where that is known. Lower is better for FID, KID, SWD, PPL;
    higher for IS, precision, recall, density, coverage. Over several sets of fakes, +- their spread."""
    measured = {name for result in results for name in result.metrics}
    columns = sorted(measured, key=lambda name: (METRICS.index(base_of(name)), name))
    control = _untrained(results)
    untrained = control.metrics if control is not None else {}
    place = "images seen" if all(result.source is None for result in results) else "snapshot"
    heads = [place, *(head for name in columns for head in _head(name))]
    rows = [
        [
            result.source or f"{result.images_seen:,}",
            *(cell for name in columns for cell in _cells(name, result.metrics, untrained)),
        ]
        for result in results
    ]
    return _aligned([heads, *rows], _footnotes(results))


def _untrained(results: Sequence[Result]) -> Result | None:
    """The control of a run. A snapshot alone has none: one that was imported saw no images here, and is
    trained all the same."""
    return next((r for r in results if r.images_seen == 0), None) if len(results) > 1 else None


def _head(name: str) -> list[str]:
    base = base_of(name)
    extractor = name[len(base) :].replace("-", " ", 1)
    return [f"{head}{extractor}" for head in _TWO.get(base, (_HEADS.get(base, base),))]


def _cells(
    name: str, metrics: Mapping[str, Mapping[str, Any]], untrained: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    keys = _TWO.get(base_of(name), ("value",))
    if name not in metrics:
        return ["-"] * len(keys)
    spread = metrics[name].get("spread") if keys == ("value",) else None
    return [_cell(name, metrics[name][key], untrained.get(name, {}).get(key), spread) for key in keys]


def _cell(name: str, value: float, untrained: float | None, spread: float | None) -> str:
    factor = 1000 if base_of(name) == "kid" else 1
    shown = f"{value * factor:.4g}" + (f" +-{spread * factor:.2g}" if spread is not None else "")
    return shown if not untrained else f"{shown} ({value / untrained:.2f}x)"


def _footnotes(results: Sequence[Result]) -> list[str]:
    swd = next((r.metrics["swd"] for r in reversed(results) if "swd" in r.metrics), None)
    notes = ["(x): ratio to the untrained generator"] if _untrained(results) is not None else []
    if swd is not None and "floor" in swd:
        floor = swd["floor"]
        notes.append(f"SWD between two halves of the reals ({floor['count']} each): {floor['value']:.4g}")
    return notes


def _aligned(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *notes])
