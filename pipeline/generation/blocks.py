"""The blocks of a generated data set: which images of each were accepted, and which the filters refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.data.shards import blocks
from pipeline.data.shards.blocks import MOST_RECORD_BYTES, Held
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rows import Shard
from pipeline.errors import Damaged
from pipeline.reading import read_as

NAME = "images"
_HASH = re.compile(r"(?:[0-9a-f]{2})+")


@dataclass(frozen=True)
class Record:
    """What became of a block.

    images: a row for each accepted image, in order, with its `number`, its `class` if it has one, and what
    the filters noted. refused: how many images each filter refused, by the filter's name. shard: the shard
    with the accepted images; None if there are none.
    """

    block: int
    images: Sequence[Mapping[str, Any]]
    refused: Mapping[str, int]
    shard: Shard | None


class HeldBlock(Held):
    """A block that only this process works on, until the block is finished or released."""

    def __init__(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> None:
        super().__init__(block, numbers, shard, record, lock)
        self._rows: list[Mapping[str, Any]] = []
        self._refused: dict[str, int] = {}

    def add(self, row: Mapping[str, Any], key: str, image: bytes, kind: str, meta: Mapping[str, Any]) -> None:
        """Writes an accepted image. For `row`, see `Record.images`."""
        self.write(key, image, kind, row.get("class"), meta)
        self._rows.append(row)

    def refuse(self, reason: str) -> None:
        """Counts an image that the filter `reason` refused."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def finish(self) -> Record:
        """Makes the shard durable, and then the record that says so."""
        record = Record(self.block, self._rows, self._refused, self.publish_shard())
        self.publish_record(asdict(record))
        return record


class Blocks(blocks.Blocks[HeldBlock, Record]):
    """The blocks of a generated data set; see `pipeline.data.shards.blocks`."""

    def __init__(self, index: ShardIndex, size: int, stop: int) -> None:
        super().__init__(index, size, stop, NAME)

    def _hold(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> HeldBlock:
        return HeldBlock(block, numbers, shard, record, lock)

    def _read(self, path: Path, block: int) -> Record:
        record = read_as(Record, path, MOST_RECORD_BYTES)
        numbers = [int(row["number"]) for row in record.images if _is_row(row)]
        held = 0 if record.shard is None else record.shard.count
        is_whole = len(numbers) == len(record.images) == held and numbers == sorted(set(numbers))
        if record.block != block or not is_whole or not set(numbers) <= set(self.numbers(block)):
            raise Damaged(f"{path}: not the record of block {block}")
        return record


def _is_row(row: Mapping[str, Any]) -> bool:
    known = isinstance(row.get("number"), int) and isinstance(row.get("class", 0), int)
    return known and _HASH.fullmatch(str(row.get("hash", "00"))) is not None
