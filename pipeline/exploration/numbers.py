"""Numbers as a user writes them: seeds and layers as ranges, values as lists."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pipeline.errors import UserError

MOST_SEEDS = 100_000
_SEEDS = 2**63


def parse_seeds(text: str, option: str = "--seeds") -> tuple[int, ...]:
    """`"0-7,12"` -> (0, ..., 7, 12), in the given order. UserError for anything that is not a seed."""
    seeds: list[int] = []
    for word in text.split(","):
        span = _span(word, option, "seeds, such as 0-7,12")
        if span.stop > _SEEDS:
            raise UserError(f"{option} {word.strip()}: a seed is at most {_SEEDS - 1}")
        if len(seeds) + len(span) > MOST_SEEDS:
            raise UserError(f"{option} {text:.40}: more than {MOST_SEEDS} seeds; give fewer")
        seeds += span
    return tuple(seeds)


def parse_layers(text: str | None, count: int, option: str = "--layers") -> tuple[int, ...]:
    """`"4-7,9"` -> (4, 5, 6, 7, 9); None -> all of `count` layers. UserError for a layer that does not
    exist."""
    if text is None:
        return tuple(range(count))
    spans = [
        _span(word, option, f"layers from 0 to {count - 1}, such as 0-{count - 1}")
        for word in text.split(",")
    ]
    for span in spans:
        if span.stop > count:
            raise UserError(f"{option} {text}: there is no layer {span.stop - 1}; allowed: 0 to {count - 1}")
    return tuple(sorted({layer for span in spans for layer in span}))


def parse_values(text: str, option: str, least: float, most: float) -> tuple[float, ...]:
    """`"0,0.5,1"` -> (0.0, 0.5, 1.0). UserError for anything but numbers from `least` to `most`."""
    return tuple(_value(word, option, least, most) for word in text.split(","))


def spread(strength: float, steps: int) -> tuple[float, ...]:
    """`steps` equidistant values from -strength to strength."""
    if steps == 1:
        return (strength,)
    return tuple(strength * (2 * i - (steps - 1)) / (steps - 1) for i in range(steps))


def shown(value: float) -> str:
    """A number with as few digits as it needs: 0.5, -1, 0.333."""
    return f"{round(value, 3) + 0.0:g}"


def _value(word: str, option: str, least: float, most: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UserError(
            f"{option} {word.strip()}: allowed: numbers from {shown(least)} to {shown(most)}, with commas"
        )
    return value


def _span(word: str, option: str, allowed: str) -> range:
    match = re.fullmatch(r"\s*([0-9]{1,19})\s*(?:-\s*([0-9]{1,19})\s*)?", word)
    if match is None:
        raise UserError(f"{option}: {word.strip()!r} is not a number; allowed: {allowed}")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise UserError(f"{option} {word.strip()}: goes backwards; write {last}-{first}")
    return range(first, last + 1)


def listed(numbers: Sequence[int]) -> str:
    """Seeds in the form that `parse_seeds` reads, for titles: (0, 1, 2, 7) -> "0-2,7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
