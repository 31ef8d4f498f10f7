"""Results as a table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.plan import METRICS
from pipeline.evaluation.results import Result

_HEADS = {"fid": "FID", "kid": "KID x1000", "is": "IS", "swd": "SWD x1000", "msssim": "MS-SSIM"}


def results_table(results: Sequence[Result]) -> str:
    """A line a snapshot: images seen and each metric, with its ratio to the untrained generator's in
    brackets where that is known. Lower is better for FID, KID, SWD; higher for IS, precision, recall."""
    columns = [name for name in METRICS if any(name in result.metrics for result in results)]
    control = _untrained(results)
    untrained = control.metrics if control is not None else {}
    heads = ["images seen", *(head for name in columns for head in _head(name))]
    rows = [
        [
            f"{result.images_seen:,}",
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
    return ["precision", "recall"] if name == "pr" else [_HEADS[name]]


def _cells(
    name: str, metrics: Mapping[str, Mapping[str, Any]], untrained: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    keys = ["precision", "recall"] if name == "pr" else ["value"]
    if name not in metrics:
        return ["-"] * len(keys)
    return [_cell(name, metrics[name][key], untrained.get(name, {}).get(key)) for key in keys]


def _cell(name: str, value: float, untrained: float | None) -> str:
    shown = f"{value * 1000:.4g}" if name == "kid" else f"{value:.4g}"
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
