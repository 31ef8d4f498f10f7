"""The blocks of a data set that is being prepared, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from pipeline.data.preparing.render import Rendered
from pipeline.data.preparing.tally import Tally
from pipeline.data.shards import blocks
from pipeline.data.shards.blocks import MOST_RECORD_BYTES, Held
from pipeline.data.shards.index import INDEX_NAME, Shard, ShardIndex, read_unfinished
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_as

NAME = "data"


@dataclass(frozen=True)
class Record:
    """What became of a block. counts: over the pictures in `shard`, which is None if there are none.
    left_out: name and reason of every other picture of the block."""

    block: int
    shard: Shard | None
    counts: Tally = field(default_factory=Tally)
    left_out: Sequence[tuple[str, str]] = ()


class HeldBlock(Held):
    """A block that only this process works on, until it is finished or released."""

    def __init__(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> None:
        super().__init__(block, numbers, shard, record, lock)
        self.places = iter(numbers)  # whose pictures are still to come
        self._counts = Tally()
        self._left_out: list[tuple[str, str]] = []

    def add(
        self, key: str, result: Rendered, kind: str, label: int | None, name: str, extra: Mapping[str, bytes]
    ) -> None:
        """Writes the picture `name` as a sample, and counts it. extra: its fields, by their members."""
        assert result.data is not None, "who reads tells those that have no image"
        self.write(key, result.data, kind, label, {**result.meta, "source": name}, extra)
        self._counts.take(result)

    def leave_out(self, name: str, reason: str) -> None:
        """Notes a picture that does not become a sample."""
        self._left_out.append((name, reason))

    def finish(self) -> None:
        """Makes the shard durable, and then the record that says so."""
        record = Record(self.block, self.publish_shard(), self._counts, self._left_out)
        self.publish_record(asdict(record))


class Blocks(blocks.Blocks[HeldBlock, Record]):
    """The blocks of a prepared data set: block i are `size` places of the shuffled order, from i * size on;
    see `pipeline.data.shards.blocks`."""

    def __init__(self, index: ShardIndex, size: int, stop: int) -> None:
        _refuse_older(index.root)
        super().__init__(index, size, stop, NAME)

    @property
    def finished(self) -> bool:
        """Whether every block has a record."""
        return all(self.record(block) is not None for block in range(self.count))

    @property
    def samples(self) -> int:
        """How many samples there are at this moment."""
        if self.complete:
            return read_unfinished(self.root).count
        found = (self.record(block) for block in self.recorded())
        return sum(record.counts.count for record in found if record is not None)

    def records(self) -> Sequence[Record]:
        """The records of all blocks, in order, once every block has one."""
        found = [self.record(block) for block in range(self.count)]
        return [record for record in found if record is not None]

    def _hold(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> HeldBlock:
        return HeldBlock(block, numbers, shard, record, lock)

    def _read(self, path: Path, block: int) -> Record:
        record = read_as(Record, path, MOST_RECORD_BYTES)
        count = 0 if record.shard is None else record.shard.count
        whole = record.counts.count == count and count + len(record.left_out) == len(self.numbers(block))
        if record.block != block or not whole:
            raise Damaged(f"{path}: not the record of block {block}")
        return record


def _refuse_older(root: Path) -> None:
    """UserError for a data set that a version without blocks has begun: its shards were filled up, so that
    they are no blocks."""
    if (root / INDEX_NAME).is_file():
        there = read_unfinished(root)
        if not there.complete and there.shards:
            raise UserError(
                f"{root}: was begun by an older version and cannot be finished by this one; "
                "give a new folder, or empty this one"
            )
