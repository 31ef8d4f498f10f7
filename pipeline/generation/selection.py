"""Which images of the finished blocks become the data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.data.shards.rewrite import keep_samples
from pipeline.data.shards.rows import Shard
from pipeline.generation.blocks import Blocks, Record
from pipeline.generation.duplicates import Seen


class Selection:
    """The images that become the data set: the first `count` accepted images, in the order of the blocks.

    `duplicates`: an image whose picture hash is within this many bits of an earlier one's is left out. The
    selection depends only on the blocks, not on which process made them or when.
    """

    def __init__(self, blocks: Blocks, count: int, duplicates: int | None = None) -> None:
        self._blocks, self._count = blocks, count
        self._seen = None if duplicates is None else Seen(duplicates)
        self._next = 0  # block
        self.total = self.surplus = 0
        self.refused: Counter[str] = Counter()
        self.kept: dict[int, list[int]] = {}

    @property
    def full(self) -> bool:
        """Whether all requested images are there."""
        self._catch_up()
        return self.total >= self._count

    @property
    def exhausted(self) -> bool:
        """Whether every block is finished."""
        self._catch_up()
        return self._next == self._blocks.count

    @property
    def promised(self) -> int:
        """How many images there are so far, including those in finished blocks that wait for earlier
        blocks."""
        self._catch_up()
        later = (self._blocks.record(block) for block in self._blocks.recorded() if block >= self._next)
        return self.total + sum(len(record.images) for record in later if record is not None)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows of the kept images, as recorded by the blocks, in order."""
        for block, numbers in self.kept.items():
            record, keep = self._blocks.record(block), set(numbers)
            assert record is not None, "the selection was made from records"
            yield from (row for row in record.images if row["number"] in keep)

    def _catch_up(self) -> None:
        while self.total < self._count and self._next < self._blocks.count:
            record = self._blocks.record(self._next)
            if record is None:
                return
            self._take(record)
            self._next += 1

    def _take(self, record: Record) -> None:
        kept = self.kept[record.block] = []
        for row in record.images:
            if self._seen is not None and not self._seen.take(row["hash"]):
                self.refused["duplicates"] += 1
            elif self.total == self._count:
                self.surplus += 1
            else:
                kept.append(int(row["number"]))
                self.total += 1
        self.refused.update(record.refused)


def final_shards(blocks: Blocks, selection: Selection, key: Callable[[int], str]) -> list[Shard]:
    """The shards of the kept images. A shard that holds others too is rewritten without them. `key` maps an
    image number to the key of its sample."""
    shards = []
    for block, numbers in selection.kept.items():
        record = blocks.record(block)
        assert record is not None, "the selection was made from records"
        if record.shard is None or not numbers:
            continue
        if len(numbers) == record.shard.count:
            shards.append(record.shard)
        else:
            shards.append(keep_samples(blocks.index, record.shard.name, {key(n) for n in numbers}))
    return shards
