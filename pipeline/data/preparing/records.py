"""The blocks of a data set that is being prepared, and what became of each."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from pipeline.data.preparing.render import Rendered
from pipeline.data.preparing.tally import Tally
from pipeline.data.shards import blocks
from pipeline.data.shards.blocks import MOST_RECORD_BYTES, Held
from pipeline.data.shards.index import INDEX_NAME, ShardIndex, check_size, read_unfinished
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.sink import ShardWriter
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_as
from pipeline.storage.atomic import make_folder, publish_bytes, remove_folder

NAME = "data"
HELD_OUT = "held-out"
"""The folder, in that of a data set, of the pictures that were held out."""

_CONTENTS = ".contents"


@dataclass(frozen=True)
class Record:
    """What became of a block. shard, held_out: that of the data set and that of the pictures held out; None
    if there are none. counts, held_out_counts: over the pictures in each. left_out: name and reason of every
    other picture of the block."""

    block: int
    shard: Shard | None
    counts: Tally = field(default_factory=Tally)
    left_out: Sequence[tuple[str, str]] = ()
    held_out: Shard | None = None
    held_out_counts: Tally = field(default_factory=Tally)


class HeldBlock(Held):
    """A block that only this process works on, until it is finished or released. share: of the pictures that
    are held out."""

    def __init__(
        self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str], share: float
    ) -> None:
        super().__init__(block, numbers, shard, record, lock)
        self.places = iter(numbers)  # whose pictures are still to come
        self._share = share
        self._counts, self._held_out_counts = Tally(), Tally()
        self._left_out: list[tuple[str, str]] = []
        self._contents = array("Q", bytes(8 * len(numbers)))
        self._beside: ShardWriter | None = None

    def add(
        self, key: str, result: Rendered, kind: str, label: int | None, name: str, extra: Mapping[str, bytes]
    ) -> None:
        """Writes the picture `name` as a sample, and counts it. extra: its fields, by their members."""
        assert result.data is not None, "who reads tells those that have no image"
        meta = {**result.meta, "source": name}
        self._contents[int(key) - self.numbers.start] = result.content
        if is_held_out(result.content, self._share):
            if self._beside is None:
                self._beside = ShardWriter(self._path.parent / HELD_OUT / self._path.name)
            self._beside.add(key, result.data, kind, label, meta, extra)
            self._held_out_counts.take(result, name, label)
        else:
            self.write(key, result.data, kind, label, meta, extra)
            self._counts.take(result, name, label)

    def leave_out(self, name: str, reason: str) -> None:
        """Notes a picture that does not become a sample."""
        self._left_out.append((name, reason))

    def finish(self) -> None:
        """Makes the shards durable, and then the record that says so."""
        beside = None if self._beside is None else self._beside.publish()
        self._beside = None
        publish_bytes(self._record.with_suffix(_CONTENTS), self._contents.tobytes())
        record = Record(
            self.block, self.publish_shard(), self._counts, self._left_out, beside, self._held_out_counts
        )
        self.publish_record(asdict(record))

    def release(self) -> None:
        if self._beside is not None:
            self._beside.abandon()
        super().release()


class Blocks(blocks.Blocks[HeldBlock, Record]):
    """The blocks of a prepared data set: block i are `size` places of the shuffled order, from i * size on;
    see `pipeline.data.shards.blocks`."""

    def __init__(self, index: ShardIndex, size: int, stop: int, share: float = 0.0) -> None:
        _refuse_older(index.folder)
        super().__init__(index, size, stop, NAME)
        self._share = share
        if share:
            make_folder(index.folder / HELD_OUT)

    @property
    def samples(self) -> int:
        """How many samples there are at this moment."""
        if self.complete:
            return read_unfinished(self.root).count
        found = (self.record(block) for block in self.recorded())
        return sum(record.counts.count for record in found if record is not None)

    def _hold(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> HeldBlock:
        return HeldBlock(block, numbers, shard, record, lock, self._share)

    def forget(self) -> None:
        super().forget()
        if not (self.root / INDEX_NAME).exists():
            remove_folder(self.root / HELD_OUT)

    def contents(self) -> npt.NDArray[np.uint64]:
        """The content of the picture at each place of the order, [N]; 0 where there is none."""
        parts = [self._path(block).with_suffix(_CONTENTS) for block in range(self.count)]
        return np.concatenate([np.fromfile(path, np.uint64) for path in parts])

    def _read(self, path: Path, block: int) -> Record:
        record = read_as(Record, path, MOST_RECORD_BYTES)
        sides = ((record.shard, record.counts), (record.held_out, record.held_out_counts))
        fits = [counts.count == (0 if shard is None else shard.count) for shard, counts in sides]
        whole = sum(counts.count for _, counts in sides) + len(record.left_out) == len(self.numbers(block))
        contents = path.with_suffix(_CONTENTS).stat().st_size == 8 * len(self.numbers(block))
        if record.block != block or not all((*fits, whole, contents)):
            raise Damaged(f"{path}: not the record of block {block}")
        if record.held_out is not None:
            check_size(self.root / HELD_OUT, record.held_out)
        return record


def is_held_out(content: int, share: float) -> bool:
    """Whether a picture is among the `share` of all that are held out. It depends on its content alone."""
    return content < share * 2.0**64


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
