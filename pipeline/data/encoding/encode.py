"""Encodes a data set into shards with latents, together with all other processes that do the same."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.data.encoding.card import write_card
from pipeline.data.encoding.records import Blocks, HeldBlock
from pipeline.data.encoding.request import Request
from pipeline.data.shards.decode import decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import Encoded, no_damage
from pipeline.errors import UserError
from pipeline.storage.lock import one_of_writers

_POLL_SECONDS = 0.1

Moments = npt.NDArray[Any]
"""Means and standard deviations of an image's latents, [2C, H, W], as they are stored."""


def encode_shards(
    request: Request, out: Path, *, cores: int = 1, progress: bool = False, command: str = ""
) -> ShardIndex:
    """Writes the samples of `request.source`, each with the field MOMENTS, as shards in `out`, together with
    all other processes that do the same, continuing what interrupted ones left; returns when the data set is
    complete.

    Keys, images, labels, fields and order are the source's. The bytes depend on the request alone, on a GPU
    with kernels that repeat. The index tells the scale of the latents. UserError if `out` holds anything but
    the beginning of the same data set, or for a damaged sample.

    cores: how many threads read and, on a CPU, encode. command: that makes the data set, for its card.
    """
    with one_of_writers(out):
        blocks = take_folder(request, out)
        if not blocks.complete:
            with blocks.unless_complete(), _Crew(request, cores) as crew:
                bar = tqdm(total=request.source.count, desc="encode", unit="img", disable=not progress)
                with bar:
                    _Work(blocks, crew, bar, command).run()
        blocks.tidy()
    return ShardIndex.read(out)


def take_folder(request: Request, out: Path) -> Blocks:
    """Begins or joins the requested data set in `out`, and returns its blocks. UserError if `out` holds
    something else."""
    out.mkdir(parents=True, exist_ok=True)
    return Blocks(request, out)


class _Crew:
    """Threads that read samples and threads that encode them, working at the same time.

    On a CPU every core encodes, each one image, so that an image's bits do not depend on the others;
    otherwise one thread feeds the device.
    """

    def __init__(self, request: Request, cores: int) -> None:
        self.request = request
        self.on_cpu = request.device.type == "cpu"
        self.encoders = cores if self.on_cpu else 1
        self._reader, self._one_reads = ShardReader(request.source), Lock()
        self._starts = list(accumulate((shard.count for shard in request.source.shards), initial=0))
        self._reading = ThreadPoolExecutor(cores, "read")
        self._encoding = ThreadPoolExecutor(self.encoders, "encode")

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._encoding, self._reading):
            pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def begin(self, numbers: range) -> Future[list[tuple[Encoded, Moments]]]:
        """Starts reading and encoding the samples `numbers`."""
        read = [self._reading.submit(self._read, number) for number in numbers]
        return self._encoding.submit(self._encode, read)

    def _read(self, number: int) -> tuple[Encoded, Tensor]:
        shard = bisect_right(self._starts, number) - 1
        with no_damage():
            with self._one_reads:
                sample = self._reader.read(shard, number - self._starts[shard])
            return sample, decode_sample(self.request.source, shard, sample)

    def _encode(self, read: list[Future[tuple[Encoded, Tensor]]]) -> list[tuple[Encoded, Moments]]:
        samples, pixels = zip(*(future.result() for future in read), strict=True)
        images = torch.stack(pixels).permute(0, 3, 1, 2)
        parts = torch.split(images, 1 if self.on_cpu else len(pixels))
        moments = torch.cat([self._moments(part) for part in parts]).numpy()
        return [(sample, self._stored(sample, one)) for sample, one in zip(samples, moments, strict=True)]

    def _moments(self, pixels: Tensor) -> Tensor:
        images = pixels.to(self.request.device).float().mul(2 / 255).sub(1)
        return torch.cat(self.request.coder.encode(images.contiguous()), dim=1).cpu()

    def _stored(self, sample: Encoded, moments: npt.NDArray[np.float32]) -> Moments:
        with np.errstate(over="ignore"):  # said below
            stored: Moments = moments.astype(self.request.dtype)
        if not np.isfinite(stored).all():
            most = np.abs(moments).max()
            raise UserError(
                f"key {sample.key}: its latents, up to {most:g}, are no numbers of {self.request.dtype}; "
                "allowed: --dtype float32, or another codec"
            )
        return stored


@dataclass(frozen=True)
class _Batch:
    """Samples of a held block that are being encoded. `last` marks the block's last batch."""

    block: HeldBlock
    samples: Future[list[tuple[Encoded, Moments]]]
    last: bool


class _Work:
    """Takes blocks, has their samples encoded ahead, and writes them, until the data set is complete."""

    def __init__(self, blocks: Blocks, crew: _Crew, bar: tqdm[Any], command: str) -> None:
        self._blocks, self._crew, self._bar, self._command = blocks, crew, bar, command
        self._open: list[HeldBlock] = []

    def run(self) -> None:
        """Returns when the index is complete, whichever process completed it."""
        while not self._blocks.complete:
            try:
                self._encode()
            finally:
                while self._open:
                    self._open.pop().release()
            if self._blocks.finished:
                self._blocks.finish(self._shards)
            else:
                time.sleep(_POLL_SECONDS)

    def _encode(self) -> None:
        """Encodes blocks until none is left to take."""
        self._show()
        queue = deque[_Batch]()
        for batch in self._batches():
            queue.append(batch)
            if len(queue) > self._crew.encoders + 1:
                self._write(queue.popleft())
        while queue:
            self._write(queue.popleft())

    def _batches(self) -> Iterator[_Batch]:
        """Batches of one block after another; encoding starts when a batch is asked for."""
        while (block := self._blocks.take()) is not None:
            self._open.append(block)
            for numbers in self._crew.request.batches(block.numbers):
                yield _Batch(block, self._crew.begin(numbers), numbers.stop == block.numbers.stop)

    def _write(self, batch: _Batch) -> None:
        for sample, moments in batch.samples.result():
            batch.block.add(sample, moments)
            self._bar.update()
        if batch.last:
            batch.block.finish()
            self._open.remove(batch.block)
            self._show()

    def _show(self) -> None:
        """Shows what other processes have made as well."""
        done = sum(len(self._blocks.numbers(block)) for block in self._blocks.recorded())
        self._bar.n = max(self._bar.n, done)
        self._bar.refresh()

    def _shards(self) -> list[Shard]:
        shards = [record.shard for record in self._blocks.records()]
        write_card(self._blocks.whole(shards), self._crew.request, self._command)
        return shards
