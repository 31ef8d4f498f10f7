"""Reading the samples of a data set by their place, each one checked. The offsets of recent shards stay in
memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.samples import Encoded, Offsets, no_damage, scan, take_apart
from pipeline.errors import Damaged
from pipeline.storage.faults import reason_of

_OFFSETS = 4096  # 8 bytes a sample: 32 MB at 1,000 samples a shard
_FILES = 128  # far below the usual limit of 1,024 open files


class ShardReader:
    """Random access to the samples of `index`, by (shard number, member number).

    Each sample is bound to its key and label by a checksum that is tested on every read, so a shard
    that was damaged at any time is noticed at the sample, without reading shards whole beforehand.
    """

    def __init__(self, index: ShardIndex) -> None:
        self._index = index
        self._offsets_of: OrderedDict[int, Offsets] = OrderedDict()
        self._files: OrderedDict[int, int] = OrderedDict()

    def read(self, shard: int, member: int) -> Encoded:
        """The sample. Errors: Damaged, which names shard and key (or place), if it is not whole."""
        entry = self._index.shards[shard]
        try:
            sample = self._take_twice(shard, member)
        except Damaged as damage:
            raise Damaged(f"{self._index.root / entry.name}: sample {member}: {damage}") from damage
        except OSError as error:
            raise Damaged(
                f"{self._index.root / entry.name}: sample {member}: cannot be read: {reason_of(error)}"
            ) from error
        if sample.label is not None and sample.label >= len(self._index.classes) > 0:
            raise Damaged(
                f"{self._index.root / entry.name}: key {sample.key}: class {sample.label} is not in the index"
            )
        return sample

    def close(self) -> None:
        """Closes all files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_twice(self, shard: int, member: int) -> Encoded:
        try:
            return self._take(shard, member)
        except OSError:
            # Whatever a file server has forgotten, or a disk could not read once, is opened anew.
            self._offsets_of.pop(shard, None)
            if shard in self._files:
                with suppress(OSError):
                    os.close(self._files.pop(shard))
            return self._take(shard, member)

    def _take(self, shard: int, member: int) -> Encoded:
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
        block = os.pread(self._file(shard), stop - start, start)
        if len(block) != stop - start:
            raise Damaged("the shard became shorter while it was read")
        return block

    def _offsets(self, shard: int) -> Offsets:
        if shard not in self._offsets_of:
            entry = self._index.shards[shard]
            self._offsets_of[shard] = scan(self._index.root / entry.name, entry.count, self._index.fields)
            if len(self._offsets_of) > _OFFSETS:
                self._offsets_of.popitem(last=False)
        self._offsets_of.move_to_end(shard)
        return self._offsets_of[shard]

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            self._files[shard] = os.open(self._index.root / self._index.shards[shard].name, os.O_RDONLY)
            if len(self._files) > _FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(shard)
        return self._files[shard]


def read_samples(index: ShardIndex) -> Iterator[Encoded]:
    """Every sample, in order. Errors: UserError for a damaged one."""
    with ShardReader(index) as reader:
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
