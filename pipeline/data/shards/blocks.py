"""Blocks of numbers, shared by any number of processes through the data set's own folder.

A block is a fixed range of numbers and becomes one shard, so that names and bytes do not depend on which
process made it. The process that holds a block's lock makes it; the lock is released when the process dies,
and another then takes the block over. Processes do not communicate: they may start and end at any time, on
any machine that sees the folder.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from pipeline.data.shards.index import INDEX_NAME, ShardIndex, check_size, read_unfinished
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.sink import ShardWriter, differences
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_as
from pipeline.storage.atomic import is_aside, publish_bytes
from pipeline.storage.job import JOBS
from pipeline.storage.lock import in_turn, release, try_lock

WORK = ".work"
PLAN = f"{WORK}/plan"
MOST_RECORD_BYTES = 256 << 20


def refuse_strangers(root: Path) -> bool:
    """Whether there is an index in a folder, which need not exist. UserError if there is none, and anything
    else than what processes leave there before one."""
    # Listed once, because other processes write here too.
    names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    if INDEX_NAME in names:
        return True
    for name in names:
        if name not in (".lock", WORK, JOBS) and not is_aside(name, INDEX_NAME):
            raise UserError(f"{root}: not empty (holds {name}); give a new or empty folder")
    return False


@dataclass(frozen=True)
class Plan:
    """How much work a data set is, for those who look on: `numbers` in `blocks`."""

    numbers: int
    blocks: int


def recorded_blocks(root: Path) -> list[int]:
    """The blocks of the data set in `root` that have a record at this moment."""
    return sorted(int(path.stem) for path in (root / WORK).glob("*.json") if path.stem.isdigit())


class BlockRecord(Protocol):
    """What became of a block. shard: with its samples; None if there are none."""

    @property
    def block(self) -> int: ...

    @property
    def shard(self) -> Shard | None: ...


class Held:
    """A block that only this process works on, until its record is published or it is released. `numbers` are
    its numbers; `shard` and `record` are the paths to be published."""

    def __init__(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> None:
        self.block, self.numbers = block, numbers
        self._path, self._record, self._lock = shard, record, lock
        self._writer: ShardWriter | None = None

    def write(
        self,
        key: str,
        image: bytes,
        extension: str,
        label: int | None,
        meta: Mapping[str, Any],
        members: Mapping[str, bytes] | None = None,
    ) -> None:
        """Adds a sample to the block's shard, as `ShardWriter.add` does."""
        if self._writer is None:
            self._writer = ShardWriter(self._path)
        self._writer.add(key, image, extension, label, meta, members)

    def publish_shard(self) -> Shard | None:
        """Makes the shard durable; None if it would have no samples."""
        shard = None if self._writer is None else self._writer.publish()
        self._writer = None
        return shard

    def publish_record(self, content: Mapping[str, Any]) -> None:
        """Publishes the record, which says that the shard is durable, and gives the block back."""
        publish_bytes(self._record, json.dumps(content).encode())
        release(self._lock)

    def release(self) -> None:
        """Gives the block back and removes what was written of it."""
        if self._writer is not None:
            self._writer.abandon()
        release(self._lock)


H = TypeVar("H", bound=Held)
R = TypeVar("R", bound=BlockRecord)


class Blocks(ABC, Generic[H, R]):
    """The blocks of a data set that is not complete yet. `index` describes the data set as requested, `size`
    is how many numbers a block has, `stop` is one more than the last number, and `name` begins the names of
    the shards.

    Raises UserError if the folder holds anything other than the beginning of this data set.
    """

    def __init__(self, index: ShardIndex, size: int, stop: int, name: str) -> None:
        self.root, self.index = index.folder, index
        self._size, self._stop, self._name = size, stop, name
        self._work = self.root / WORK
        self._records: dict[int, R] = {}
        self._held: set[int] = set()
        if not self._agrees():
            self._work.mkdir(exist_ok=True)
            with in_turn(self._work / "index.lock"):
                if not self._agrees():
                    index.write()
        self.tidy()
        if not self.complete:
            self._work.mkdir(exist_ok=True)
            publish_bytes(self.root / PLAN, json.dumps(asdict(Plan(stop, self.count))).encode())

    @abstractmethod
    def _hold(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> H:
        """The block that `lock` holds."""

    @abstractmethod
    def _read(self, path: Path, block: int) -> R:
        """The record at `path`; Damaged unless it is that of `block`."""

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
        """The numbers of a block."""
        return range(block * self._size, min((block + 1) * self._size, self._stop))

    def record(self, block: int) -> R | None:
        """What became of a block; None if it is not finished, or if its shard is missing or truncated."""
        if block not in self._records:
            try:
                record = self._read(self._path(block), block)
                if record.shard is not None:
                    check_size(self.root, record.shard)
            except (FileNotFoundError, Damaged, UserError):
                return None
            self._records[block] = record
        return self._records[block]

    def recorded(self) -> list[int]:
        """The blocks that have a record at this moment."""
        return recorded_blocks(self.root)

    @property
    def finished(self) -> bool:
        """Whether every block has a record."""
        return all(self.record(block) is not None for block in range(self.count))

    def records(self) -> Sequence[R]:
        """The records of all blocks, in order, once every block has one."""
        found = [self.record(block) for block in range(self.count)]
        return [record for record in found if record is not None]

    def take(self) -> H | None:
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
                return self._hold(block, self.numbers(block), self._shard(block), self._path(block), lock)
            release(lock)
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
            self.whole(shards).write()
            self._sweep({shard.name for shard in shards})

    def whole(self, shards: Sequence[Shard]) -> ShardIndex:
        """The index of the complete data set."""
        return replace(self.index, shards=tuple(shards), complete=True)

    def forget(self) -> None:
        """Removes a beginning without any sample, so that the folder can be used for something else, unless
        another process is at it."""
        for path in self._work.glob("[0-9]*.lock"):
            lock = try_lock(path)
            if lock is None:
                return
            release(lock)
        (self.root / INDEX_NAME).unlink(missing_ok=True)
        self._sweep(set())

    def tidy(self) -> None:
        """Removes what the process that completed the data set has left, if it died of a sudden."""
        if self.complete:
            shutil.rmtree(self._work, ignore_errors=True)

    def _sweep(self, names: set[str]) -> None:
        for path in (*self.root.glob(f"{self._name}-*.tar"), *self.root.glob("*.partial")):
            if path.name not in names:
                path.unlink(missing_ok=True)
        shutil.rmtree(self._work, ignore_errors=True)

    def _agrees(self) -> bool:
        """Whether the same data set has been begun here. UserError if the folder holds something else."""
        if not refuse_strangers(self.root):
            return False
        different = differences(self.index, read_unfinished(self.root))
        if different:
            raise UserError(
                f"{self.root}: holds another data set ({'; '.join(different)}); "
                "give an empty folder, or repeat the settings it was made with"
            )
        return True

    def _shard(self, block: int) -> Path:
        return self.root / f"{self._name}-{block:05d}.tar"

    def _path(self, block: int) -> Path:
        return self._work / f"{block:05d}.json"
