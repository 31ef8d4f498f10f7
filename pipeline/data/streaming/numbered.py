"""Samples that are taken by their numbers, in any order: for metrics, and for models that make images of what
they are given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from threading import Lock

import torch
from torch import Tensor

from pipeline.contracts import Batch, Conditional, Sampler
from pipeline.data.shards.decode import decode_fields, decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import Encoded, no_damage
from pipeline.data.streaming.slots import Extra, Samples, fields_of


def read_uint8(
    index: ShardIndex, start: int = 0, stop: int | None = None, batch_size: int = 64
) -> Iterator[tuple[Tensor, list[int] | None, list[str]]]:
    """Samples [start, stop) as stored, unflipped: (images [N, C, H, W] uint8, labels or None, keys).

    Raises UserError for a damaged sample, naming shard and key.
    """
    with UnflippedReader(index) as reader:
        end = index.count if stop is None else min(stop, index.count)
        for first in range(start, end, batch_size):
            yield reader.read(range(first, min(first + batch_size, end)))


class UnflippedReader:
    """Reads samples as they are stored, unflipped, by their number in the data set."""

    def __init__(self, index: ShardIndex) -> None:
        self._index, self._reader = index, ShardReader(index)
        self._starts = list(accumulate((shard.count for shard in index.shards), initial=0))

    def read(self, numbers: Sequence[int]) -> tuple[Tensor, list[int] | None, list[str]]:
        """(images [N, C, H, W] uint8, labels or None, keys). UserError for a damaged sample, naming shard
        and key."""
        with no_damage():
            return _read_batch(self._index, self._reader, [self._place(number) for number in numbers])

    def image(self, number: int) -> Tensor:
        """One image [C, H, W] uint8; errors as `read`."""
        return self.read([number])[0][0]

    def encoded(self, number: int) -> tuple[int, Encoded]:
        """The number of its shard, and a sample as it is stored. Errors: Damaged."""
        shard, member = self._place(number)
        return shard, self._reader.read(shard, member)

    def _place(self, number: int) -> tuple[int, int]:
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]

    def __enter__(self) -> UnflippedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _read_batch(
    index: ShardIndex, reader: ShardReader, places: list[tuple[int, int]]
) -> tuple[Tensor, list[int] | None, list[str]]:
    images, labels, keys = [], [], []
    for shard, member in places:
        sample = reader.read(shard, member)
        images.append(decode_sample(index, shard, sample))
        labels.append(sample.label)
        keys.append(sample.key)
    known = [label for label in labels if label is not None]
    return torch.stack(images).permute(0, 3, 1, 2).contiguous(), known if index.classes else None, keys


class NumberedSamples:
    """Implements contracts.DataSet.

    fields: the names of those that samples are read with. Errors: UserError if the data set lacks one, and in
    `batch` for a damaged sample, naming shard and key.
    """

    def __init__(self, index: ShardIndex, fields: Collection[str] = ()) -> None:
        self._index, self._fields = index, fields_of(index, fields)
        self._reader, self._lock = UnflippedReader(index), Lock()

    def __len__(self) -> int:
        return self._index.count

    def batch(self, numbers: Sequence[int]) -> Batch:
        """See `contracts.DataSet`."""
        images, labels, extra = [], [], Extra(self._fields, len(numbers))
        for at, number in enumerate(numbers):
            with no_damage(), self._lock:  # images may be drawn by several threads
                shard, sample = self._reader.encoded(number)
                image = decode_sample(self._index, shard, sample)
                fields = decode_fields(self._index, shard, sample, self._fields)
            label = torch.tensor([-1 if sample.label is None else sample.label])
            extra.take(Samples(image[None], label, {name: x[None] for name, x in fields.items()}), at)
            images.append(image)
            labels.append(label)
        pixels = torch.stack(images).permute(0, 3, 1, 2)
        known = torch.cat(labels) if self._index.classes else None
        return Batch(
            pixels.float().mul_(2 / 255).sub_(1),
            known,
            extra.seen(torch.zeros(len(numbers), dtype=torch.bool)),
        )


def over(sampler: Sampler, index: ShardIndex) -> Sampler:
    """Returns the sampler; one that makes images of what it is given is told to take this data set's samples.
    Errors: UserError if they lack a field that it needs."""
    if not isinstance(sampler, Conditional):
        return sampler
    return sampler.over(NumberedSamples(index, sampler.fields))
