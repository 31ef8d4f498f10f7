"""Work shared by processes in such a way that figures do not depend on how many there are.

Work is cut into blocks that do not depend on the number of processes. Each block is done by one of them, and
its result arrives at the first process in the order of the blocks, where sums are always made in the same
order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Peers(Protocol):
    """This process among those of one evaluation. All processes must call the same methods in the same
    order."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def gather(self, value: T) -> list[T]:
        """On the first process, the `value` of every process, in the order of ranks; on the others, an empty
        list."""
        ...

    def from_first(self, value: T) -> T:
        """The first process's `value`, on every process."""
        ...


class Alone:
    """A process without peers."""

    rank, world_size = 0, 1

    def gather(self, value: T) -> list[T]:
        return [value]

    def from_first(self, value: T) -> T:
        return value


def blocks(count: int, size: int) -> list[range]:
    """The range 0 .. count-1 cut into ranges of `size`; the last may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def in_order(parts: list[range], work: Callable[[range], T], peers: Peers) -> Iterator[T]:
    """On the first process, yields the result of `work` for every part, in order, as they arrive. On the
    others, yields nothing, but the iterator must be consumed for their share of the parts to be done."""
    for start in range(0, len(parts), peers.world_size):
        mine = start + peers.rank
        done = work(parts[mine]) if mine < len(parts) else None
        yield from (one for one in peers.gather(done) if one is not None)
