"""Work shared by processes so that nobody can tell from the figures how many there were.

Work is cut into blocks that do not depend on the number of processes. Each is done by one of them, and what
comes of it arrives at the first in the order of the blocks: sums are made there, always in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Peers(Protocol):
    """This process among those of one evaluation; every process must call the same methods in turn."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def gather(self, value: T) -> list[T]:
        """Every process's `value`, in the order of ranks, on the first; nothing elsewhere."""
        ...

    def from_first(self, value: T) -> T:
        """The first process's `value`, everywhere."""
        ...


class Alone:
    """The only process."""

    rank, world_size = 0, 1

    def gather(self, value: T) -> list[T]:
        return [value]

    def from_first(self, value: T) -> T:
        return value


def blocks(count: int, size: int) -> list[range]:
    """0..count-1 in ranges of `size`; the last may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def in_order(parts: list[range], work: Callable[[range], T], peers: Peers) -> Iterator[T]:
    """On the first process: `work` of every part, in order, as it arrives. Elsewhere: nothing, but parts
    are worked on only as far as the iterator is consumed."""
    for start in range(0, len(parts), peers.world_size):
        mine = start + peers.rank
        done = work(parts[mine]) if mine < len(parts) else None
        yield from (one for one in peers.gather(done) if one is not None)
