"""Results as a table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.names import METRICS, PARTS, base_of, better
from pipeline.evaluation.results import Result
from pipeline.reading import shown

_REALS = {
    "fid": "; the reals themselves: 0",
    "kid": "; the reals themselves: 0",
    "pr": ", at most 1",
    # Naeem et al. 2020, section 3.2: expected of equal distributions, with k = 5.
    "dc": "; other reals: near 1 and 0.97",
}
_TOLD = (
    *("truncation", "truncation_order", "classes", "class_weights"),
    *("discriminator", "realism", "duplicates"),
)
"""Of a generated data set: what moves its figures."""

_HEADS = {
    "fid": "FID",
    "kid": "KID x1000",
    "is": "IS",
    "ppl-z": "PPL z",
    "ppl-w": "PPL w",
    "swd": "SWD x1000",
    "msssim": "MS-SSIM",
}


def results_table(results: Sequence[Result]) -> str:
    """A line a snapshot or data set: images seen, the file that it was imported from, or images, and each
    metric, with its ratio to the untrained generator's in brackets where that is known; over several sets of
    fakes, +- their spread. Below, for each metric, what is better and where the reals are; of a data set, how
    it was made."""
    columns = _columns(results)
    control = _untrained(results)
    untrained = control.metrics if control is not None else {}
    heads = [_place(results), *(head for name in columns for head in _head(name))]
    rows = [
        [
            result.source or f"{result.measured.get('count', result.images_seen):,}",
            *(cell for name in columns for cell in _cells(name, result.metrics, untrained)),
        ]
        for result in results
    ]
    return _aligned([heads, *rows], _footnotes(results))


def _place(results: Sequence[Result]) -> str:
    if any(result.measured for result in results):
        return "images"
    return "snapshot" if any(result.source for result in results) else "images seen"


def _columns(results: Sequence[Result]) -> list[str]:
    measured = {name for result in results for name in result.metrics}
    return sorted(measured, key=lambda name: (_order(name), name))


def _order(name: str) -> int:
    """Those of another version come last."""
    base = base_of(name)
    return METRICS.index(base) if base in METRICS else len(METRICS)


def _untrained(results: Sequence[Result]) -> Result | None:
    """The control of a run. A snapshot alone has none: one that was imported saw no images here, and is
    trained all the same."""
    return next((r for r in results if r.images_seen == 0), None) if len(results) > 1 else None


def _head(name: str) -> list[str]:
    base = base_of(name)
    extractor = name[len(base) :].replace("-", " ", 1)
    return [f"{head}{extractor}" for head in PARTS.get(base, (_HEADS.get(base, base),))]


def _cells(
    name: str, metrics: Mapping[str, Mapping[str, Any]], untrained: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    keys = PARTS.get(base_of(name), ("value",))
    if name not in metrics:
        return ["-"] * len(keys)
    spread = metrics[name].get("spread") if keys == ("value",) else None
    return [_cell(name, metrics[name][key], untrained.get(name, {}).get(key), spread) for key in keys]


def _cell(name: str, value: float, untrained: float | None, spread: float | None) -> str:
    factor = 1000 if base_of(name) == "kid" else 1
    shown = f"{value * factor:.4g}" + (f" +-{spread * factor:.2g}" if spread is not None else "")
    return shown if not untrained else f"{shown} ({value / untrained:.2f}x)"


def _footnotes(results: Sequence[Result]) -> list[str]:
    notes = [made for result in results if (made := _made(result.measured.get("origin", {})))]
    if _untrained(results) is not None:
        notes.append("(x): ratio to the untrained generator")
    for name in _columns(results):
        newest = next(result.metrics[name] for result in reversed(results) if name in result.metrics)
        notes.append(f"{', '.join(_head(name))}: {better(name)}{_reals(name, newest)}")
    return notes


def _reals(name: str, figures: Mapping[str, Any]) -> str:
    """Where the reals are, as far as it is known."""
    base = base_of(name)
    if base == "swd" and "floor" in figures:
        floor = figures["floor"]
        return f"; two halves of the reals ({floor.get('count')} each) are {floor['value']:.4g} apart"
    if base == "msssim" and "reals" in figures:
        reals = figures["reals"]
        return f": {reals['value']:.4g} (of {reals.get('count')})"
    return _REALS.get(base, "")


def _made(origin: Mapping[str, Any]) -> str:
    """How a generated data set was made; empty of another."""
    if "snapshot" not in origin:
        return ""
    asked = {**origin, **origin.get("filters", {})}
    told = ", ".join(f"{name}: {_told(asked[name])}" for name in _TOLD if name in asked)
    seen = origin.get("snapshot_images_seen")
    at = "" if seen is None else f" at {seen:,} images seen"
    return f"generated by {origin.get('family')} {origin['snapshot'][:12]}{at}; {told}"


def _told(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _aligned(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *notes])
