"""What is counted of pictures while they become shards; counts of parts add up to those of the whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.data.preparing.render import Rendered
from pipeline.images.kinds import suffix_of
from pipeline.images.pixels import Remark

_BINS = 8  # an octave

T = TypeVar("T")


@dataclass(kw_only=True)
class Tally:
    """Counts over pictures that became samples.

    count: how many. enlarged: those smaller than asked. remarks: how many had what done to them. values: the
    lowest and highest value of those `deep` pictures that had more than 8 bits. sides: how many have, before
    they are resized, a shorter side of at least how many pixels, a power of two, and less than twice as many.
    shapes, modes, suffixes: how many are square, wide or tall, in colour or grey, and how many names end how.
    labels: how many are of each class number. sharpness: how many have which, if it was measured, in bins of
    an eighth of an octave (see `sharpness_below`).
    """

    count: int = 0
    enlarged: int = 0
    remarks: dict[Remark, int] = field(default_factory=dict)
    values: tuple[float, float] | None = None
    deep: int = 0
    sides: dict[int, int] = field(default_factory=dict)
    shapes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    suffixes: dict[str, int] = field(default_factory=dict)
    labels: dict[int, int] = field(default_factory=dict)
    sharpness: dict[int, int] = field(default_factory=dict)

    def take(self, result: Rendered, name: str, label: int | None) -> None:
        """Counts one picture, which has this name in the source."""
        width, height = result.size
        for counts, key in (
            (self.shapes, "square" if width == height else "wide" if width > height else "tall"),
            (self.modes, result.mode),
            (self.suffixes, suffix_of(name)),
        ):
            counts[key] = counts.get(key, 0) + 1
        side = 1 << max(min(width, height).bit_length() - 1, 0)
        self.sides[side] = self.sides.get(side, 0) + 1
        if label is not None:
            self.labels[label] = self.labels.get(label, 0) + 1
        self.count += 1
        self.enlarged += result.enlarged
        self.remarks = summed(self.remarks, dict.fromkeys(result.remarks, 1))
        self._add_values(result.values, 1)
        if result.sharpness is not None:
            self.sharpness = summed(self.sharpness, {int(_BINS * math.log2(1 + result.sharpness)): 1})

    def add(self, other: Tally) -> None:
        """Adds the counts of other pictures."""
        self.count += other.count
        self.enlarged += other.enlarged
        self.remarks = summed(self.remarks, other.remarks)
        self.sides = summed(self.sides, other.sides)
        self.shapes = summed(self.shapes, other.shapes)
        self.modes = summed(self.modes, other.modes)
        self.suffixes = summed(self.suffixes, other.suffixes)
        self.labels = summed(self.labels, other.labels)
        self._add_values(other.values, other.deep)
        self.sharpness = summed(self.sharpness, other.sharpness)

    def sharpness_below(self, share: float) -> float:
        """The sharpness that this share of the pictures does not reach, to an eighth of an octave."""
        seen, wanted = 0, share * sum(self.sharpness.values())
        for place in sorted(self.sharpness):
            seen += self.sharpness[place]
            if seen >= wanted:
                break
        return float(2 ** ((place + 1) / _BINS) - 1)

    def _add_values(self, values: tuple[float, float] | None, deep: int) -> None:
        if values is not None:
            lowest, highest = self.values or values
            self.values = min(lowest, values[0]), max(highest, values[1])
            self.deep += deep


def summed(a: Mapping[T, int], b: Mapping[T, int]) -> dict[T, int]:
    """Counts that add up."""
    return dict(Counter(a) + Counter(b))
