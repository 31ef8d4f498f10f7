"""The images of one rank, in order, cut into chunks that any worker can decode without the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pipeline.contracts import Field
from pipeline.data.shards.decode import decode_fields, decode_sample
from pipeline.data.shards.fields import size_of
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.levels import reduce
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import no_damage
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.slots import Samples, copy_numbers
from pipeline.errors import Damaged, UserError

_CHUNK_BYTES = 4 << 20
_CHUNK_MOST = 64


@dataclass(frozen=True)
class Stride:
    """Which positions of a run belong to one rank: first, first + step, first + 2 * step, ...

    The n-th chunk holds the rank's images [n * size, (n + 1) * size).
    """

    first: int
    step: int
    size: int

    def positions(self, chunk: int) -> range:
        """The positions of a chunk."""
        begin = self.first + chunk * self.size * self.step
        return range(begin, begin + self.size * self.step, self.step)


def chunk_size(index: ShardIndex, fields: Sequence[Field] = ()) -> int:
    """How many samples a chunk has: few megabytes, so that little is decoded before it is needed."""
    size = index.height * index.width * index.channels + sum(size_of(field) for field in fields)
    return max(1, min(_CHUNK_MOST, _CHUNK_BYTES // size))


@dataclass
class Notes:
    """What was met while a chunk was filled. damaged: how many images were replaced. shards: a message for
    each shard with damage, by number."""

    damaged: int = 0
    shards: dict[int, str] = field(default_factory=dict)


_Decoded = tuple[Tensor, int | None, Mapping[str, Tensor]]


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
        self._reader = ShardReader(index)

    def fill(self, samples: Samples, positions: Sequence[int]) -> Notes:
        """Fills the first of `samples` with those at the positions."""
        notes = Notes()
        chosen = [-1] * len(positions)
        for i, position in enumerate(positions):
            pixels, label, extra = self._good(position, notes)
            copy_numbers(samples.images[i], pixels)
            for name, value in extra.items():
                copy_numbers(samples.extra[name][i], value)
            chosen[i] = -1 if label is None else label
        samples.labels.copy_(samples.labels.new_tensor(chosen))
        return notes

    def close(self) -> None:
        """Closes the shards."""
        self._reader.close()

    def _good(self, position: int, notes: Notes) -> _Decoded:
        if not self._skip:
            with no_damage("restore it, make the data set again, or set data.on_damage=skip"):
                return self._read(position)
        for turn in range(self._order.total):
            try:
                return self._read(position + turn * self._order.lanes)
            except Damaged as damage:
                # A stand-in that is itself damaged has its own position, where it is counted.
                notes.damaged += turn == 0
                shard = self._order.locate(position + turn * self._order.lanes).shard
                notes.shards.setdefault(shard, str(damage))
        raise UserError(f"{self._index.root}: no readable image is left in a whole epoch of a lane")

    def _read(self, position: int) -> _Decoded:
        _, shard, member = self._order.locate(position)
        sample = self._reader.read(shard, member)
        pixels = decode_sample(self._index, shard, sample)
        extra = decode_fields(self._index, shard, sample, self._fields)
        return pixels if self._factor == 1 else reduce(pixels, self._factor), sample.label, extra
