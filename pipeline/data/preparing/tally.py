"""What is counted of pictures while they become shards; counts of parts add up to those of the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.data.preparing.render import Rendered
from pipeline.images.pixels import Remark

T = TypeVar("T")


@dataclass(kw_only=True)
class Tally:
    """Counts over pictures that became samples.

    count: how many. enlarged: those smaller than asked. remarks: how many had what done to them. values: the
    lowest and highest value of those `deep` pictures that had more than 8 bits.
    """

    count: int = 0
    enlarged: int = 0
    remarks: dict[Remark, int] = field(default_factory=dict)
    values: tuple[float, float] | None = None
    deep: int = 0

    def take(self, result: Rendered) -> None:
        """Counts one picture."""
        self.count += 1
        self.enlarged += result.enlarged
        self.remarks = summed(self.remarks, dict.fromkeys(result.remarks, 1))
        self._add_values(result.values, 1)

    def add(self, other: Tally) -> None:
        """Adds the counts of other pictures."""
        self.count += other.count
        self.enlarged += other.enlarged
        self.remarks = summed(self.remarks, other.remarks)
        self._add_values(other.values, other.deep)

    def _add_values(self, values: tuple[float, float] | None, deep: int) -> None:
        if values is not None:
            lowest, highest = self.values or values
            self.values = min(lowest, values[0]), max(highest, values[1])
            self.deep += deep


def summed(a: Mapping[T, int], b: Mapping[T, int]) -> dict[T, int]:
    """Counts that add up."""
    return dict(Counter(a) + Counter(b))
