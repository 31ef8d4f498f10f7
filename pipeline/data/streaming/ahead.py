"""Shards of a store brought to this machine before they are read: which, and when, the order tells."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.local import LocalShards
from pipeline.data.stores.patience import GivenUp
from pipeline.data.stores.place import Remote
from pipeline.data.streaming.lanes import Order
from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.words import note

_AT_ONCE = 4  # downloads of one worker
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True)
class Stride:
    """Which positions of a run belong to one rank: first, first + step, first + 2 * step, ...

    The n-th chunk holds the rank's images [n * size, (n + 1) * size).
    """

    first: int
    step: int
    size: int

    def positions(self, chunk: int) -> range:
        """The positions of a chunk."""
        begin = self.first + chunk * self.size * self.step
        return range(begin, begin + self.size * self.step, self.step)


def ahead_of(index: ShardIndex, order: Order, stride: Stride) -> Ahead | None:
    """What brings the shards of `index` before their time, if it lies in a store and the cache can hold more
    than the shards that are being read."""
    most = min(order.lanes, shards_in_cache(index) - order.lanes)
    return Ahead(LocalShards(index), index, order, stride, most) if most > 0 else None


def shards_in_cache(index: ShardIndex) -> int:
    """How many shards fit into this machine's cache; 0 for a data set that needs none."""
    if not isinstance(index.root, Remote):
        return 0
    return int(index.root.settings.cache_gb * 1e9) // max(shard.bytes for shard in index.shards)


def warn_of_small_cache(index: ShardIndex, lanes: int) -> None:
    """Warns if the shards that are read at once do not fit into the cache, which then exceeds its limit."""
    read = min(lanes, len(index.shards))
    if isinstance(index.root, Remote) and shards_in_cache(index) < read:
        note(
            f"data.cache_gb={index.root.settings.cache_gb:g} holds {shards_in_cache(index)} of the {read} "
            f"shards of {index.root} that are read at once (data.lanes={lanes}), and will be exceeded"
        )


class Ahead:
    """Brings shards in the order in which the lanes of a rank come to them, at most `most` of them before
    anything is read from them. What goes wrong is left to the reader, who meets it again."""

    def __init__(
        self, local: LocalShards, index: ShardIndex, order: Order, stride: Stride, most: int
    ) -> None:
        self._local, self._index, self._order, self._stride = local, index, order, stride
        self._most, self._closed = most, False
        self._changed = threading.Condition()
        self._next: list[tuple[int, int, int, Iterator[tuple[int, int]]]] = []
        self._begun: list[int] = []  # the positions where shards are first read that were brought before
        self._now = -1
        self._threads: list[threading.Thread] = []

    def begin_at(self, position: int) -> None:
        """Says that reading has come to `position`."""
        with self._changed:
            self._now = position
            self._changed.notify_all()
        if not self._threads:
            self._next = self._lanes(position)
            self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_AT_ONCE)]
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """Ends what is under way; what has come of it is gone on with another time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)

    def _lanes(self, position: int) -> list[tuple[int, int, int, Iterator[tuple[int, int]]]]:
        step, lanes = self._stride.step, self._order.lanes
        firsts = (position + step * turn for turn in range(lanes // gcd(lanes, step)))
        waiting = []
        for lane, first in enumerate(firsts):
            stretches = self._order.stretches(first)
            waiting.append((*next(stretches), lane, stretches))
        heapq.heapify(waiting)
        return waiting

    def _work(self) -> None:
        while (shard := self._take()) is not None:
            try:
                self._local.bring(self._index.shards[shard], lambda: self._closed)
            except (Damaged, GivenUp, OSError, RunFailed, UserError):
                continue

    def _take(self) -> int | None:
        with self._changed:
            while not self._closed and self._full():
                self._changed.wait()
            if self._closed:
                return None
            position, shard, lane, stretches = heapq.heappop(self._next)
            heapq.heappush(self._next, (*next(stretches), lane, stretches))
            heapq.heappush(self._begun, position)
            return shard

    def _full(self) -> bool:
        while self._begun and self._begun[0] <= self._now:
            heapq.heappop(self._begun)
        return len(self._begun) >= self._most
