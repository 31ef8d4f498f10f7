"""How fast a data set is read on this machine: by one process alone, and by workers as a run has them."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass

import torch

from pipeline.config.run import DataConfig
from pipeline.data.shards.decode import decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import no_damage
from pipeline.data.streaming.ahead import Stride
from pipeline.data.streaming.chunks import Decoder, chunk_size
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.slots import copy_numbers
from pipeline.data.streaming.workers import WorkerChunks

_MOST_ALONE = 1000  # images


@dataclass(frozen=True)
class Alone:
    """What an image costs one process, which reads and decodes one after the other; medians in milliseconds.

    read_ms: from the store to a sample that is checked. waiting_ms: the part of it in which the process did
    not compute. bytes: the mean size of an image as it is stored. format: of the first.
    """

    read_ms: float
    waiting_ms: float
    decode_ms: float
    bytes: float
    format: str


@dataclass(frozen=True)
class Speed:
    """What `workers` processes deliver, in blocks of uint8 as a GPU's host takes them.

    waiting: the share of the workers' time in which they did not compute: for the store, or for a core that
    was free.
    """

    workers: int
    images_per_second: float
    batch_ms: float
    waiting: float


class Measurement:
    """Measures in the order of a run, and goes on where it was: nothing is read twice within an epoch, so
    that the system's memory of files does not make a store look faster than it is."""

    def __init__(self, index: ShardIndex) -> None:
        self._index, self._config = index, DataConfig()
        self._order = Order([shard.count for shard in index.shards], seed=0, lanes=self._config.lanes)
        self._next = 0  # position

    def alone(self, seconds: float) -> Alone:
        """Reads and decodes here for some seconds. Errors: UserError for a damaged sample."""
        costs: list[tuple[float, float, float]] = []
        sizes, format, ends = 0, "", time.perf_counter() + seconds
        with ShardReader(self._index) as reader, no_damage():
            while not costs or (time.perf_counter() < ends and len(costs) < _MOST_ALONE):
                _, shard, member = self._order.locate(self._next)
                self._next += 1
                began, computed = time.perf_counter(), time.process_time()
                sample = reader.read(shard, member)
                read, computed = time.perf_counter(), time.process_time() - computed
                decode_sample(self._index, shard, sample)
                costs.append((read - began, max(0.0, read - began - computed), time.perf_counter() - read))
                sizes, format = sizes + len(sample.image), format or sample.extension
        # Medians, since the first sample of a shard has all headers of the shard read.
        spent, waited, decoding = (1e3 * statistics.median(values) for values in zip(*costs, strict=True))
        return Alone(spent, waited, decoding, sizes / len(costs), format)

    def together(self, workers: int, batch: int, seconds: float) -> Speed:
        """Draws batches from that many workers for some seconds, after what they decode ahead. Errors:
        UserError for a damaged sample."""
        index, size = self._index, chunk_size(self._index)
        before, began = _children_seconds(), time.perf_counter()
        stride = Stride(self._next, 1, size)
        chunks = WorkerChunks(self._decoder, stride, index.spec, workers, self._config.prefetch)
        block = torch.empty((size, index.height, index.width, index.channels), dtype=torch.uint8)
        try:
            for _ in range(workers * self._config.prefetch):
                self._take(chunks, block)
            timed, images = time.perf_counter(), 0
            while images < batch or time.perf_counter() - timed < seconds:
                self._take(chunks, block)
                images += size
            ended = time.perf_counter()
        finally:
            chunks.close()
        busy = (_children_seconds() - before) / (workers * (time.perf_counter() - began))
        rate = images / (ended - timed)
        return Speed(workers, rate, 1e3 * batch / rate, min(1.0, max(0.0, 1 - busy)))

    def _decoder(self) -> Decoder:
        return Decoder(self._index, self._order, skip=False)

    def _take(self, chunks: WorkerChunks, block: torch.Tensor) -> None:
        chunk = chunks.next()
        copy_numbers(block, chunk.samples.images)
        chunk.release()
        self._next += len(block)


def _children_seconds() -> float:
    """The time of cores that processes took which were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
