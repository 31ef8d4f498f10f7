"""Making the pyramid of a data set: all its samples at every lower resolution, for networks that grow. What a
level is, `pipeline.data.shards.levels` says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.data.preparing.processes import in_order
from pipeline.data.shards.decode import decode_sample
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.levels import LOWEST, block_sums, level_root, level_sizes, open_level, rounded
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.rows import Level
from pipeline.data.shards.samples import Encoded, no_damage
from pipeline.data.shards.sink import ShardSink
from pipeline.errors import UserError
from pipeline.images.codec import encode
from pipeline.storage.lock import only_writer

_ROUNDING = "mean of the block, half to even"


def check_levels(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes of the levels, of which there is at least one; otherwise UserError."""
    sizes = level_sizes(height, width)
    if not sizes:
        raise UserError(
            f"--pyramid: images of {width}x{height} (width x height) have no levels; "
            f"both sides must be even, and at least {2 * LOWEST} pixels"
        )
    return sizes


def build_pyramid(
    root: str | Path, *, workers: int | None = None, progress: bool = False, wait_seconds: float = 0
) -> ShardIndex:
    """Adds all levels to the data set in `root`; its index, with levels.

    A call that was killed goes on where its last whole shard ends; until all levels are whole, the index
    lists none (or those it listed before). workers: processes, None: one a core. wait_seconds:
    for another process that holds the folder.
    Raises UserError for a damaged sample, and if the images are too small or odd to have a level.
    """
    index = ShardIndex.read(root)
    sizes = check_levels(index.height, index.width)
    with only_writer(index.folder, wait_seconds), ExitStack() as stack:
        sinks = [stack.enter_context(_sink(index, *size)) for size in sizes]
        _fill(index, sinks, workers or len(os.sched_getaffinity(0)), progress)
        for sink in sinks:
            sink.close()
        levels = tuple(Level(s.index.height, s.index.width, s.index.digest) for s in sinks)
        complete = replace(index, levels=levels)
        for level in levels:
            open_level(complete, level)  # a level that stood here before may have lost shards since
        if levels != index.levels:
            complete.write()
    return complete


def _sink(index: ShardIndex, height: int, width: int) -> ShardSink:
    return ShardSink(
        level_root(index.folder, height),
        name="data",
        height=height,
        width=width,
        channels=index.channels,
        classes=index.classes,
        origin={"made_by": "pyramid", "of": index.digest, "rounding": _ROUNDING},
        # Every shard is cut where the one above ends, however it came to its length.
        shard_size=max(shard.count for shard in index.shards) + 1,
    )


def _fill(index: ShardIndex, sinks: list[ShardSink], workers: int, progress: bool) -> None:
    done = [len(index.shards) if sink.complete else len(sink.index.shards) for sink in sinks]
    begin = min(done)
    places = [(s, m) for s, shard in enumerate(index.shards) for m in range(shard.count)]
    first = sum(shard.count for shard in index.shards[:begin])
    bar = tqdm(
        _samples(index, places, range(first, len(places)), workers),
        total=len(places),
        initial=first,
        unit="image",
        desc="pyramid",
        disable=not progress,
        smoothing=0.05,
    )
    for number, (sample, images) in enumerate(bar, first):
        shard, member = places[number]
        due = [k for k in range(len(sinks)) if done[k] <= shard]
        for k in due:
            sinks[k].write(sample.key, images[k], "png", sample.label, sample.meta)
        if member == index.shards[shard].count - 1:
            for k in due:
                sinks[k].cut()


def _samples(
    index: ShardIndex, places: list[tuple[int, int]], numbers: range, workers: int
) -> Iterator[tuple[Encoded, list[bytes]]]:
    with ShardReader(index) as reader:  # each process opens its own files
        yield from in_order(partial(_level_images, index, reader, places), numbers, workers)


def _level_images(
    index: ShardIndex, reader: ShardReader, places: list[tuple[int, int]], number: int
) -> tuple[Encoded, list[bytes]]:
    """A sample without its image, and its PNG at every level."""
    shard, member = places[number]
    with no_damage():
        sample = reader.read(shard, member)
        pixels = decode_sample(index, shard, sample)
    images = [encode(level, "png", effort="small") for level in _levels(pixels.numpy())]
    return replace(sample, image=b""), images


def _levels(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """The image at every level, largest first, each rounded from exact sums."""
    sums, factor = pixels.astype(np.uint32), 1
    for _ in level_sizes(*pixels.shape[:2]):
        sums, factor = block_sums(sums, 2), factor * 2
        yield rounded(sums, factor)
