"""Which pictures of a source are the same picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Copies:
    """groups: how many contents occur more than once. pictures: how many pictures have one that occurred
    before. examples: places in the order, of some groups."""

    groups: int
    pictures: int
    examples: list[list[int]]


def find_copies(contents: npt.NDArray[np.uint64], examples: int = 20, shown: int = 5) -> Copies:
    """The equal ones among `contents` [N], in which 0 is none. examples: at most as many groups, each with at
    most `shown` places. It takes 16 bytes a picture."""
    order = np.argsort(contents, kind="stable")
    order = order[np.searchsorted(contents, 1, sorter=order) :]
    ordered = contents[order]
    same = ordered[1:] == ordered[:-1]
    starts = np.flatnonzero(same & ~np.concatenate([[False], same[:-1]])) if len(same) else np.empty(0, int)
    groups = []
    for start in sorted(starts.tolist(), key=lambda start: int(order[start]))[:examples]:
        stop = np.searchsorted(ordered[start:], ordered[start], "right") + start
        groups.append(order[start : min(stop, start + shown)].tolist())
    return Copies(len(starts), int(same.sum()), groups)
