"""Reading the samples of a data set by their place, each one checked. The offsets of recent shards stay in
memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.local import LocalShards
from pipeline.data.shards.places import PlacedShards, key_of
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import Encoded, Offsets, keys, no_damage, scan, take_apart
from pipeline.errors import Damaged
from pipeline.storage.faults import reason_of

_OFFSETS = 4096  # 8 bytes a sample: 32 MB at 1,000 samples a shard
_FILES = 128  # far below the usual limit of 1,024 open files
_COPIES = 4  # of a store: those that are open cannot leave the cache


class ShardReader:
    """Random access to the samples of `index`, by (shard number, member number).

    Each sample is bound to its key and label by a checksum that is tested on every read, so a shard
    that was damaged at any time is noticed at the sample, without reading shards whole beforehand.

    damaged: as `LocalShards` has it. open_shards: how many stay open, which keeps those of a store in the
    cache.
    """

    def __init__(
        self,
        index: ShardIndex,
        *,
        damaged: Literal["error", "skip"] = "error",
        open_shards: int | None = None,
    ) -> None:
        self._index, self._local = index, LocalShards(index, damaged)
        usual = _FILES if isinstance(index.root, Path) else _COPIES
        self._most_files = min(open_shards or usual, _FILES)
        self._offsets_of: OrderedDict[int, Offsets] = OrderedDict()
        self._files: OrderedDict[int, tuple[Path, int]] = OrderedDict()
        self._placed = PlacedShards(index) if index.data_root else None

    def read(self, shard: int, member: int) -> Encoded:
        """The sample. Errors: Damaged, which names shard and key (or place), if it is not whole."""
        where = self._index.shards_root / self._index.shards[shard].name
        try:
            sample = self._take_twice(shard, member)
        except Damaged as damage:
            raise Damaged(f"{where}: sample {member}: {damage}") from damage
        except OSError as error:
            raise Damaged(f"{where}: sample {member}: cannot be read: {reason_of(error)}") from error
        if sample.label is not None and sample.label >= len(self._index.classes) > 0:
            raise Damaged(f"{where}: key {sample.key}: class {sample.label} is not in the index")
        return sample

    def close(self) -> None:
        """Closes all files."""
        while self._files:
            os.close(self._files.popitem()[1][1])

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_twice(self, shard: int, member: int) -> Encoded:
        try:
            return self._take(shard, member)
        except OSError:
            # Whatever a file server has forgotten, or a disk could not read once, is opened anew.
            self._forget(shard)
            return self._take(shard, member)
        except Damaged:
            if not self._local.drop_if_changed(self._index.shards[shard]):
                raise
            self._forget(shard)
            return self._take(shard, member)

    def _forget(self, shard: int) -> None:
        self._offsets_of.pop(shard, None)
        if shard in self._files:
            with suppress(OSError):
                os.close(self._files.pop(shard)[1])

    def _take(self, shard: int, member: int) -> Encoded:
        if self._placed is not None:
            return self._placed.take(shard, member, self._file(shard)[1])
        try:
            block = self._read_block(shard, member)
            return take_apart(block, bool(self._index.classes), self._index.fields)
        except Damaged as damage:
            offsets = self._offsets_of.get(shard)
            # The last sample before a cut has lost members: the cut is the news.
            if offsets is not None and offsets.fault and member == len(offsets) - 1:
                raise Damaged(f"{damage}; the shard {offsets.fault}") from damage
            raise

    def _read_block(self, shard: int, member: int) -> bytes:
        offsets = self._offsets(shard)
        if member >= len(offsets):
            raise Damaged(f"the shard {offsets.fault}")
        start, stop = int(offsets.starts[member]), int(offsets.starts[member + 1])
        block = os.pread(self._file(shard)[1], stop - start, start)
        if len(block) != stop - start:
            raise Damaged("the shard became shorter while it was read")
        return block

    def _offsets(self, shard: int) -> Offsets:
        if shard not in self._offsets_of:
            entry = self._index.shards[shard]
            self._offsets_of[shard] = scan(self._local_path(shard), entry.count, self._index.fields)
            if len(self._offsets_of) > _OFFSETS:
                self._offsets_of.popitem(last=False)
        self._offsets_of.move_to_end(shard)
        return self._offsets_of[shard]

    def _local_path(self, shard: int) -> Path:
        """Where a shard is on this machine, where it stays while it is among the open ones."""
        return self._file(shard)[0]

    def _file(self, shard: int) -> tuple[Path, int]:
        if shard not in self._files:
            if len(self._files) >= self._most_files:
                os.close(self._files.popitem(last=False)[1][1])
            self._files[shard] = self._local.open(self._index.shards[shard])
        self._files.move_to_end(shard)
        return self._files[shard]


def read_samples(index: ShardIndex) -> Iterator[Encoded]:
    """Every sample, in order. Errors: UserError for a damaged one."""
    with ShardReader(index, open_shards=1) as reader:
        for number, shard in enumerate(index.shards):
            for member in range(shard.count):
                with no_damage():
                    sample = reader.read(number, member)
                yield sample


def read_labels(index: ShardIndex) -> list[int]:
    """The class of every sample of labelled shards, in order. Errors: UserError for a damaged sample."""
    labels: list[int] = []
    for sample in read_samples(index):
        assert sample.label is not None, "the reader refuses a sample without"
        labels.append(sample.label)
    return labels


def read_keys(index: ShardIndex) -> list[str]:
    """The key of every sample, in order, from the headers of its shards. Errors: UserError for damage."""
    if index.data_root:
        return [key_of(n, member) for n, shard in enumerate(index.shards) for member in range(shard.count)]
    with no_damage():
        return [key for shard in index.shards for key in _keys_of(index, shard)]


def _keys_of(index: ShardIndex, shard: Shard) -> list[str]:
    path = index.folder / shard.name
    try:
        return keys(path, index.fields)
    except Damaged as damage:
        raise Damaged(f"{path}: {damage}") from damage
