"""Blocks of image numbers, shared by any number of processes through the data set's own folder.

A block is a fixed range of numbers and becomes one shard, so that names and bytes do not depend on which
process made it. The process that holds a block's lock makes it; the lock is released when the process dies,
and another then takes the block over. Processes do not communicate: they may start and end at any time, on
any machine that sees the folder.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from pipeline.data.shards.index import INDEX_NAME, Shard, ShardIndex, check_size, read_unfinished
from pipeline.data.shards.sink import ShardWriter, differences
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_as
from pipeline.storage.atomic import is_aside, publish_bytes
from pipeline.storage.lock import in_turn, try_lock

WORK = ".work"
NAME = "images"
_MOST_BYTES = 256 << 20  # the largest size of a record
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


class HeldBlock:
    """A block that only this process works on, until the block is finished or released."""

    def __init__(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> None:
        self.block, self.numbers = block, numbers
        self._path, self._record, self._lock = shard, record, lock
        self._writer: ShardWriter | None = None
        self._rows: list[Mapping[str, Any]] = []
        self._refused: dict[str, int] = {}

    def add(self, row: Mapping[str, Any], key: str, image: bytes, kind: str, meta: Mapping[str, Any]) -> None:
        """Writes an accepted image. For `row`, see `Record.images`."""
        if self._writer is None:
            self._writer = ShardWriter(self._path)
        self._writer.add(key, image, kind, row.get("class"), meta)
        self._rows.append(row)

    def refuse(self, reason: str) -> None:
        """Counts an image that the filter `reason` refused."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def finish(self) -> Record:
        """Makes the shard durable, and then the record that says so."""
        shard = None if self._writer is None else self._writer.publish()
        self._writer = None
        record = Record(self.block, self._rows, self._refused, shard)
        publish_bytes(self._record, json.dumps(asdict(record)).encode())
        self._lock.close()
        return record

    def release(self) -> None:
        """Gives the block back and removes what was written of it."""
        if self._writer is not None:
            self._writer.abandon()
        self._lock.close()


class Blocks:
    """The blocks of a data set that is not complete yet. `index` describes the data set as requested, `size`
    is how many numbers a block has, and `stop` is one more than the last number.

    Raises UserError if the folder holds anything other than the beginning of this data set.
    """

    def __init__(self, index: ShardIndex, size: int, stop: int) -> None:
        self.root, self.index, self._size, self._stop = index.root, index, size, stop
        self._work = index.root / WORK
        self._records: dict[int, Record] = {}
        self._held: set[int] = set()
        if not self._agrees():
            self._work.mkdir(exist_ok=True)
            with in_turn(self._work / "index.lock"):
                if not self._agrees():
                    index.write()
        if self.complete:
            shutil.rmtree(self._work, ignore_errors=True)
        else:
            self._work.mkdir(exist_ok=True)

    @property
    def count(self) -> int:
        """The number of blocks."""
        return -(-self._stop // self._size)

    @property
    def complete(self) -> bool:
        """Whether some process has completed the data set."""
        return read_unfinished(self.root).complete

    @contextmanager
    def unless_complete(self) -> Iterator[None]:
        """Suppresses FileNotFoundError inside the context if the data set is complete: the process that
        completed it has then removed the locks."""
        try:
            yield
        except FileNotFoundError:
            if not self.complete:
                raise

    def numbers(self, block: int) -> range:
        """The image numbers of a block."""
        return range(block * self._size, min((block + 1) * self._size, self._stop))

    def record(self, block: int) -> Record | None:
        """What became of a block; None if it is not finished, or if its shard is missing or truncated."""
        if block not in self._records:
            try:
                record = self._read(block)
                if record.shard is not None:
                    check_size(self.root, record.shard)
            except (FileNotFoundError, Damaged, UserError):
                return None
            self._records[block] = record
        return self._records[block]

    def recorded(self) -> list[int]:
        """The blocks that have a record at this moment."""
        return sorted(int(path.stem) for path in self._work.glob("*.json") if path.stem.isdigit())

    def take(self) -> HeldBlock | None:
        """Locks the first block that is neither finished nor held by another process; None if there is
        none."""
        for block in range(self.count):
            if block in self._held or self.record(block) is not None:
                continue
            lock = try_lock(self._work / f"{block:05d}.lock")
            if lock is None:
                continue
            # The block, or the whole data set, may have been finished before the lock was taken.
            if self.record(block) is None and not self.complete:
                self._held.add(block)
                return HeldBlock(block, self.numbers(block), self._shard(block), self._path(block), lock)
            lock.close()
        return None

    def agree(self, name: str, keys: Sequence[str], make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """A number for each of `keys`, the same in all processes: the first that asks makes them with
        `make`."""
        path = self._work / f"{name}.json"
        with in_turn(self._work / f"{name}.lock"):
            try:
                agreed = read_as(dict[str, float], path)
            except (FileNotFoundError, Damaged):
                agreed = {}
            if agreed.keys() != set(keys):
                agreed = make()
                publish_bytes(path, json.dumps(agreed).encode())
        return agreed

    def finish(self, make: Callable[[], Sequence[Shard]]) -> None:
        """Completes the index with the shards that `make` returns, unless another process has done so. The
        caller must not hold any block, or it would wait for itself."""
        with in_turn(self._work / "finish.lock"):
            if self.complete:
                return
            for path in self._work.glob("[0-9]*.lock"):
                with in_turn(path):  # wait until blocks that are not needed are released
                    pass
            shards = tuple(make())
            if not shards:
                raise UserError(f"{self.root}: no image was accepted; a data set needs at least one")
            replace(self.index, shards=shards, complete=True).write()
            self._sweep({shard.name for shard in shards})

    def _sweep(self, names: set[str]) -> None:
        for path in (*self.root.glob(f"{NAME}-*.tar"), *self.root.glob("*.partial")):
            if path.name not in names:
                path.unlink(missing_ok=True)
        shutil.rmtree(self._work, ignore_errors=True)

    def _agrees(self) -> bool:
        """Whether the same data set has been begun here. UserError if the folder holds something else."""
        names = sorted(
            path.name for path in self.root.iterdir()
        )  # listed once, because other processes write here too
        if INDEX_NAME not in names:
            for name in names:
                if name not in (".lock", WORK) and not is_aside(name, INDEX_NAME):
                    raise UserError(f"{self.root}: not empty (holds {name}); give a new or empty folder")
            return False
        different = differences(self.index, read_unfinished(self.root))
        if different:
            raise UserError(
                f"{self.root}: holds another data set ({'; '.join(different)}); "
                "give an empty folder, or repeat the settings it was made with"
            )
        return True

    def _shard(self, block: int) -> Path:
        return self.root / f"{NAME}-{block:05d}.tar"

    def _path(self, block: int) -> Path:
        return self._work / f"{block:05d}.json"

    def _read(self, block: int) -> Record:
        path = self._path(block)
        record = read_as(Record, path, _MOST_BYTES)
        numbers = [int(row["number"]) for row in record.images if _is_row(row)]
        held = 0 if record.shard is None else record.shard.count
        is_whole = len(numbers) == len(record.images) == held and numbers == sorted(set(numbers))
        if record.block != block or not is_whole or not set(numbers) <= set(self.numbers(block)):
            raise Damaged(f"{path}: not the record of block {block}")
        return record


def _is_row(row: Mapping[str, Any]) -> bool:
    known = isinstance(row.get("number"), int) and isinstance(row.get("class", 0), int)
    return known and _HASH.fullmatch(str(row.get("hash", "00"))) is not None
