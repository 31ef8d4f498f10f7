"""The order of the data: which sample is drawn at which position of a run, as pure functions.

Position p counts the images drawn since the run began, over all ranks, and is all that is ever saved.
A fixed number of lanes L is read side by side: position p = d * L + l is the d-th image of lane l.
Each epoch of T samples has a virtual order (shards shuffled; within a shard, windows shuffled); an
epoch's positions, written row by row into a matrix of L columns, read that order column by column. So
each lane reads one contiguous stretch an epoch, and every sample comes exactly once an epoch, for any
T and L. Any position is found in O(log shards), with no more memory than the index and a few windows.

Ranks are interleaved: of a global batch at p0, rank r of W draws p0 + r, p0 + r + W, ..., in that
order. Strided groups over a rank's batch (minibatch stddev) are then the same groups on any W.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.randomness import derive_seed, permutation

WINDOW = 1024
"""Samples that are shuffled together: part of the order, so a change of it changes runs."""

_EPOCHS = 3  # lanes are at most one epoch apart, so two are in use
_WINDOWS = 2048  # 8 MB; more lanes than this still work, with more recomputing


class Place(NamedTuple):
    """Where a sample lies: `shard` by its number in the index, `member` by its number in the shard."""

    epoch: int
    shard: int
    member: int


class Order:
    """The order of a data set with `counts[i]` samples in shard i."""

    def __init__(self, counts: Sequence[int], *, seed: int, lanes: int, window: int = WINDOW) -> None:
        self._counts = np.asarray(counts, dtype=np.int64)
        self.total = int(self._counts.sum())
        if self.total < 1 or lanes < 1 or window < 1:
            raise ValueError(f"no order over {self.total} samples, {lanes} lanes, windows of {window}")
        self.lanes = lanes
        self._seed, self._window = seed, window
        self._epochs: OrderedDict[int, tuple[list[int], list[int]]] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int, int], npt.NDArray[np.uint32]] = OrderedDict()

    def locate(self, position: int) -> Place:
        """The place of the sample that is drawn at `position` >= 0 of the run."""
        epoch, k = divmod(position, self.total)
        return self._place(epoch, transpose(k, self.total, self.lanes))

    def stretches(self, position: int) -> Iterator[tuple[int, int]]:
        """The shards that the lane of `position` reads from there on, each with the first position that it is
        read at: without end, in order."""
        while True:
            epoch, k = divmod(position, self.total)
            shards, ends = self._epoch(epoch)
            virtual = transpose(k, self.total, self.lanes)
            turn = bisect_right(ends, virtual)
            yield position, shards[turn]
            row, column = divmod(k, self.lanes)
            height, longer = divmod(self.total, self.lanes)
            in_lane = height + (column < longer) - row  # samples, in this epoch
            position += self.lanes * min(ends[turn] - virtual, in_lane)

    def mirrored(self, position: int) -> bool:
        """Whether the image at `position` is flipped left to right, as half of them are."""
        return bool(derive_seed(self._seed, "mirror", position) & 1)

    def _place(self, epoch: int, virtual: int) -> Place:
        shards, ends = self._epoch(epoch)
        turn = bisect_right(ends, virtual)
        shard = shards[turn]
        offset = virtual - (ends[turn - 1] if turn else 0)
        window, within = divmod(offset, self._window)
        member = window * self._window + int(self._shuffled(epoch, shard, window)[within])
        return Place(epoch, shard, member)

    def _epoch(self, epoch: int) -> tuple[list[int], list[int]]:
        """The shards in the order of this epoch, and the virtual position after each."""
        if epoch not in self._epochs:
            shards = permutation(len(self._counts), derive_seed(self._seed, "shards", epoch))
            ends = accumulate(int(count) for count in self._counts[shards])
            self._epochs[epoch] = (shards.tolist(), list(ends))
            if len(self._epochs) > _EPOCHS:
                self._epochs.popitem(last=False)
        self._epochs.move_to_end(epoch)
        return self._epochs[epoch]

    def _shuffled(self, epoch: int, shard: int, window: int) -> npt.NDArray[np.uint32]:
        name = (epoch, shard, window)
        if name not in self._windows:
            size = min(self._window, int(self._counts[shard]) - window * self._window)
            seed = derive_seed(self._seed, "window", epoch, shard, window)
            self._windows[name] = permutation(size, seed).astype(np.uint32)
            if len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(name)
        return self._windows[name]


def transpose(k: int, total: int, lanes: int) -> int:
    """Where the k-th position of an epoch stands in the virtual order: a bijection on [0, total).

    The `total` entries stand in rows of `lanes` columns, of which the last row may be short; entry k is found
    when they are read column by column.
    """
    row, column = divmod(k, lanes)
    height, longer = divmod(total, lanes)  # the first `longer` columns have one entry more
    return column * height + min(column, longer) + row
