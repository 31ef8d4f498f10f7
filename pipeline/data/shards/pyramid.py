"""The pyramid of a data set: all its samples at every lower resolution, for networks that grow.

A pixel of a level is the mean of a block of f x f stored pixels, f = 2, 4, 8, ..., rounded once, half to
even: without the drift to brighter that rounding at every level (or half up) adds. Karras et al. 2018
(progressive growing) make their levels so too. Levels are halved while both sides are even and at least 8.

A level lies in `levels/HEIGHT/` as shards of PNGs with the keys, labels, order and split of the shards
above; the index above lists it with its digest once all levels are whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pipeline.data.preparing.render import in_order
from pipeline.data.shards.decode import decode_sample
from pipeline.data.shards.index import INDEX_NAME, Level, ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.samples import Encoded, no_damage
from pipeline.data.shards.sink import ShardSink
from pipeline.errors import UserError
from pipeline.images.normalised import Target, encode
from pipeline.storage.lock import only_writer

LOWEST = 4
"""Pixels: no level is lower or narrower."""

_ROUNDING = "mean of the block, half to even"


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level below an image's own size, largest first."""
    sizes = []
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * LOWEST:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return sizes


def check_levels(height: int, width: int) -> list[tuple[int, int]]:
    """`level_sizes`, at least one; otherwise UserError."""
    sizes = level_sizes(height, width)
    if not sizes:
        raise UserError(
            f"--pyramid: images of {width}x{height} (width x height) have no levels; "
            f"both sides must be even, and at least {2 * LOWEST} pixels"
        )
    return sizes


def level_root(root: Path, height: int) -> Path:
    """The folder of the level of that height."""
    return root / "levels" / f"{height:04d}"


def reduce(pixels: Tensor, factor: int) -> Tensor:
    """[H, W, C] uint8 -> [H / factor, W / factor, C] uint8, the level's pixels. factor: a power of two that
    divides both sides."""
    return torch.from_numpy(_rounded(_block_sums(pixels.numpy(), factor), factor))


def open_level(index: ShardIndex, level: Level, *, damaged: Literal["error", "skip"] = "error") -> ShardIndex:
    """The index of a level that `index` lists; UserError, naming its folder, unless it is the one listed.

    damaged: as `ShardIndex.read` has it.
    """
    root = level_root(index.root, level.height)
    mend = f"remove it and run `hrgan prepare {index.root} {index.root} --pyramid`"
    try:
        found = ShardIndex.read(root, damaged=damaged)
    except UserError as error:
        raise UserError(f"{root}: damaged level of the pyramid ({error}); {mend}") from error
    if found.digest != level.digest:
        raise UserError(
            f"{root}: digest {found.digest[:12]}... is not that of the level which "
            f"{index.root / INDEX_NAME} lists ({level.digest[:12]}...); {mend}"
        )
    different = _difference(index, level, found)
    if different:
        raise UserError(f"{root}: {different}; {mend}")
    return found


def _difference(index: ShardIndex, level: Level, found: ShardIndex) -> str:
    if found.origin.get("of") != index.digest:
        return f"is a level of another data set than {index.root / INDEX_NAME}"
    if [shard.count for shard in found.shards] != [shard.count for shard in index.shards]:
        return f"its shards have not as many samples each as those of {index.root / INDEX_NAME}"
    shape = (found.height, found.width, found.channels, found.classes)
    wanted = (level.height, level.width, index.channels, index.classes)
    if shape != wanted or shape[:2] not in level_sizes(index.height, index.width):
        return f"its size, channels or classes are not as {index.root / INDEX_NAME} says"
    return ""


def is_data_set(source: str) -> bool:
    """Whether `source` is a folder of shards with their index."""
    return (Path(source) / INDEX_NAME).is_file()


def build_pyramid(root: str | Path, *, workers: int | None = None, progress: bool = False) -> ShardIndex:
    """Adds all levels to the data set in `root`; its index, with levels.

    A call that was killed goes on where its last whole shard ends; until all levels are whole, the index
    lists none (or those it listed before). workers: processes, None: one a core.
    Raises UserError for a damaged sample, and if the images are too small or odd to have a level.
    """
    index = ShardIndex.read(root)
    sizes = check_levels(index.height, index.width)
    with only_writer(index.root), ExitStack() as stack:
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
        level_root(index.root, height),
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
    images = [_png(level) for level in _levels(pixels.numpy())]
    return replace(sample, image=b""), images


def _levels(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """The image at every level, largest first, each rounded from exact sums."""
    sums, factor = pixels.astype(np.uint32), 1
    for _ in level_sizes(*pixels.shape[:2]):
        sums, factor = _block_sums(sums, 2), factor * 2
        yield _rounded(sums, factor)


def _block_sums(values: npt.NDArray[Any], factor: int) -> npt.NDArray[np.uint32]:
    """Sums over blocks [factor, factor] of [H, W, C]. uint32 holds 4096 x 4096 pixels of 255."""
    height, width, channels = values.shape
    # Rows first: long, contiguous sums; what is left for the second is small.
    rows = values.reshape(height // factor, factor, width * channels).sum(1, dtype=np.uint32)
    blocks = rows.reshape(height // factor, width // factor, factor, channels)
    sums: npt.NDArray[np.uint32] = blocks.sum(2, dtype=np.uint32)
    return sums


def _rounded(sums: npt.NDArray[np.uint32], factor: int) -> npt.NDArray[np.uint8]:
    """sums / factor^2, half to even."""
    bits = 2 * (factor.bit_length() - 1)
    if bits == 0:
        return sums.astype(np.uint8)
    floor, rest, half = sums >> bits, sums & ((1 << bits) - 1), 1 << (bits - 1)
    up = (rest > half) | ((rest == half) & (floor & 1 == 1))
    rounded: npt.NDArray[np.uint8] = (floor + up).astype(np.uint8)
    return rounded


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    height, width, channels = pixels.shape
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return encode(picture, Target(height, width, channels))
