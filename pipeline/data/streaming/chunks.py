"""The images of one rank, in order, cut into chunks that any worker can decode without the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from pipeline.contracts import Field
from pipeline.data.shards.decode import check_sample, decode_checked, decode_fields
from pipeline.data.shards.fields import size_of
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.levels import reduce
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import Encoded, no_damage
from pipeline.data.stores.patience import AGAIN
from pipeline.data.streaming.ahead import Ahead, Stride, ahead_of
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.slots import Arrays, Samples
from pipeline.errors import Damaged, UserError

_CHUNK_BYTES = 4 << 20
_CHUNK_MOST = 64


def chunk_size(index: ShardIndex, fields: Sequence[Field] = ()) -> int:
    """How many samples a chunk has: few megabytes, so that little is decoded before it is needed."""
    size = index.height * index.width * index.channels + sum(size_of(field) for field in fields)
    return max(1, min(_CHUNK_MOST, _CHUNK_BYTES // size))


@dataclass
class Notes:
    """What was met while a chunk was filled. damaged: how many images were replaced. retries: how many
    requests to a store had to be made again. shards: a message for each shard with damage, by number."""

    damaged: int = 0
    retries: int = 0
    shards: dict[int, str] = field(default_factory=dict)


_Read = tuple[int, Encoded]  # the number of its shard, and a sample whose header is checked


class Decoder:
    """Fills tensors with the images at given positions. What it writes is a function of those alone.

    skip: take the next good image of the lane instead of a damaged one; otherwise raise UserError. factor:
    reduce images by it, as a level of a pyramid is (`pipeline.data.shards.levels`). fields: those that are
    decoded beside the image.
    """

    def __init__(
        self, index: ShardIndex, order: Order, *, skip: bool, factor: int = 1, fields: Sequence[Field] = ()
    ) -> None:
        self._index, self._order, self._fields = index, order, tuple(fields)
        self._skip, self._factor = skip, factor
        damaged: Literal["error", "skip"] = "skip" if skip else "error"
        self._reader = ShardReader(index, damaged=damaged, open_shards=order.lanes)
        self._ahead: Ahead | None = None
        # What is reduced is decoded here first, whole.
        whole = (index.height, index.width, index.channels) if factor > 1 else ()
        self._whole = np.empty(whole, np.uint8)

    def brought_along(self, stride: Stride) -> Decoder:
        """The same decoder, for which shards of a store are brought before it comes to them. stride: says
        which positions it will be asked for."""
        self._ahead = ahead_of(self._index, self._order, stride)
        return self

    def fill(self, samples: Samples, positions: Sequence[int]) -> Notes:
        """Fills the first of `samples` with those at the positions."""
        notes = Notes()
        if self._ahead is not None:
            self._ahead.begin_at(positions[0])
        room = samples.as_arrays()
        # All are read before the first is decoded: a decoder leaves little of Python in the processor's
        # caches, so that reading by turns with it takes three times as long (measured at 256 pixels).
        ahead = [self._read_ahead(position) for position in positions]
        for i, read in enumerate(ahead):
            if not self._is_put(room, i, read):
                # Once more by itself: to name what is wrong with it, or to take another instead.
                self._put_good(room, i, positions[i], notes)
        notes.retries = AGAIN.take()
        return notes

    def close(self) -> None:
        """Closes the shards."""
        if self._ahead is not None:
            self._ahead.close()
        self._reader.close()

    def _read_ahead(self, position: int) -> _Read | None:
        try:
            return self._read(position)
        except Damaged:
            return None

    def _is_put(self, room: Arrays, i: int, read: _Read | None) -> bool:
        try:
            if read is not None:
                self._decode(room, i, *read)
        except Damaged:
            return False
        return read is not None

    def _put_good(self, room: Arrays, i: int, position: int, notes: Notes) -> None:
        if not self._skip:
            with no_damage("restore it, make the data set again, or set data.on_damage=skip"):
                return self._put(room, i, position)
        for turn in range(self._order.total):
            try:
                return self._put(room, i, position + turn * self._order.lanes)
            except Damaged as damage:
                # A stand-in that is itself damaged has its own position, where it is counted.
                notes.damaged += turn == 0
                shard = self._order.locate(position + turn * self._order.lanes).shard
                notes.shards.setdefault(shard, str(damage))
        raise UserError(f"{self._index.root}: no readable image is left in a whole epoch of a lane")

    def _put(self, room: Arrays, i: int, position: int) -> None:
        self._decode(room, i, *self._read(position))

    def _read(self, position: int) -> _Read:
        _, shard, member = self._order.locate(position)
        sample = self._reader.read(shard, member)
        check_sample(self._index, shard, sample)
        return shard, sample

    def _decode(self, room: Arrays, i: int, shard: int, sample: Encoded) -> None:
        if self._factor == 1:
            decode_checked(self._index, shard, sample, room.images[i])
        else:
            decode_checked(self._index, shard, sample, self._whole)
            room.images[i] = reduce(torch.from_numpy(self._whole), self._factor).numpy()
        if self._fields:
            for name, value in decode_fields(self._index, shard, sample, self._fields).items():
                room.extra[name][i] = value.numpy()
        room.labels[i] = -1 if sample.label is None else sample.label
