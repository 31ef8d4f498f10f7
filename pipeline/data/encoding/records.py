"""The blocks of a data set that is being encoded, and what is known of the latents in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from pipeline.contracts import MOMENTS
from pipeline.data.encoding.request import NAME, Request
from pipeline.data.encoding.spread import Spread
from pipeline.data.shards import blocks
from pipeline.data.shards.arrays import pack
from pipeline.data.shards.blocks import MOST_RECORD_BYTES, Held
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import Encoded
from pipeline.errors import Damaged
from pipeline.reading import read_as


@dataclass(frozen=True)
class Record:
    """What became of a block: its shard, and how its latents spread."""

    block: int
    shard: Shard
    spread: Spread = field(default_factory=Spread)


class HeldBlock(Held):
    """A block that only this process works on, until it is finished or released."""

    def __init__(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> None:
        super().__init__(block, numbers, shard, record, lock)
        self._spread = Spread()

    def add(self, sample: Encoded, moments: npt.NDArray[Any]) -> None:
        """Writes a sample as it was, with the moments [2C, H, W] of its latents."""
        members = dict(sample.fields.values())
        members[f"{MOMENTS}.npy"] = pack(moments)
        self.write(sample.key, sample.image, sample.extension, sample.label, sample.meta, members)
        self._spread += Spread.of(moments)

    def finish(self) -> None:
        """Makes the shard durable, and then the record that says so."""
        shard = self.publish_shard()
        assert shard is not None, "a block has samples"
        self.publish_record(asdict(Record(self.block, shard, self._spread)))


class Blocks(blocks.Blocks[HeldBlock, Record]):
    """The blocks of the data set that `request` asks for in `out`: block i holds `size` samples of the source
    in their order; see `pipeline.data.shards.blocks`."""

    def __init__(self, request: Request, out: Path) -> None:
        super().__init__(request.index(out), request.shard_size, request.source.count, NAME)
        self._request = request

    def whole(self, shards: Sequence[Shard]) -> ShardIndex:
        """With what is known of the latents."""
        spread = reduce(Spread.__add__, (record.spread for record in self.records()))
        return replace(super().whole(shards), latents=self._request.latents(spread.std))

    def _hold(self, block: int, numbers: range, shard: Path, record: Path, lock: IO[str]) -> HeldBlock:
        return HeldBlock(block, numbers, shard, record, lock)

    def _read(self, path: Path, block: int) -> Record:
        record = read_as(Record, path, MOST_RECORD_BYTES)
        if record.block != block or record.shard.count != len(self.numbers(block)):
            raise Damaged(f"{path}: not the record of block {block}")
        return record
