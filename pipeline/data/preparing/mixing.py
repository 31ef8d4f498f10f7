"""Whether shards are sorted by class, so that all that the loader draws from one place is of few classes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

WINDOW = 1024
"""The samples that the loader permutes with each other (`streaming.lanes`): it mixes no further than this."""

_EXCESS, _SIGMAS = 0.1, 4


class Mixing:
    """How often two images of one window are of one class, held against two images of the whole set.

    In a shuffled set both shares are the same but for chance, however many classes there are and however
    large they are. Where windows hold k of many classes, the first is 1 / k.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._same = self._pairs = 0

    def add(self, labels: npt.NDArray[Any]) -> None:
        """Counts a shard. labels: [N] the classes of its samples, in order, as bytes."""
        for start in range(0, len(labels), WINDOW):
            names, counts = np.unique(labels[start : start + WINDOW], return_counts=True)
            self._same += int(_pairs(counts).sum())
            self._pairs += int(_pairs(counts.sum()))
            for name, count in zip(names.tolist(), counts.tolist(), strict=True):
                self.counts[name.decode()] += count

    @property
    def together(self) -> float:
        """The share of pairs within windows that are of one class."""
        return self._same / self._pairs if self._pairs else self.by_chance

    @property
    def by_chance(self) -> float:
        """The share of all pairs that are of one class."""
        pairs: int = sum(map(_pairs, self.counts.values()))
        return pairs / max(int(_pairs(self.counts.total())), 1)

    @property
    def is_sorted(self) -> bool:
        """Whether windows hold so few classes that batches would follow the order of the shards."""
        chance = self.by_chance
        spread = math.sqrt(chance * (1 - chance) / max(self._pairs, 1))
        return self.together > chance + _EXCESS * (1 - chance) + _SIGMAS * spread

    def words(self) -> str:
        """The two shares, for a person."""
        return (
            f"two images that lie together in the loader's order are of one class in {self.together:.1%} of "
            f"cases, by chance it would be {self.by_chance:.1%}"
        )


def _pairs(count: Any) -> Any:
    return count * (count - 1) // 2
