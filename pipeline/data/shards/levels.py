"""The levels of a pyramid as readers see them: which there are, how they are opened, what their pixels are.

A pixel of a level is the mean of a block of f x f stored pixels, f = 2, 4, 8, ..., rounded once, half to
even: without the drift to brighter that rounding at every level (or half up) adds. Karras et al. 2018
(progressive growing) make their levels so too. Levels are halved while both sides are even and at least 8.

A level lies in `levels/HEIGHT/` as shards of PNGs with the keys, labels, order and split of the shards
above; the index above lists it with its digest once all levels are whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.data.shards.index import INDEX_NAME, ShardIndex
from pipeline.data.shards.rows import Level
from pipeline.data.stores.place import Place, Remote
from pipeline.errors import UserError

_Root = TypeVar("_Root", Path, Remote, Place)

LOWEST = 4
"""Pixels: no level is lower or narrower."""


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level below an image's own size, largest first."""
    sizes = []
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * LOWEST:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return sizes


def level_root(root: _Root, height: int) -> _Root:
    """The folder of the level of that height."""
    return root / "levels" / f"{height:04d}"


def open_level(index: ShardIndex, level: Level, *, damaged: Literal["error", "skip"] = "error") -> ShardIndex:
    """The index of a level that `index` lists; UserError, naming its folder, unless it is the one listed.

    damaged: as `ShardIndex.read` has it.
    """
    root = level_root(index.root, level.height)
    mend = f"remove it and run `hrgan prepare {index.root} {index.root} --pyramid`"
    try:
        stored = ShardIndex.read(root, damaged=damaged)
    except UserError as error:
        raise UserError(f"{root}: damaged level of the pyramid ({error}); {mend}") from error
    if stored.digest != level.digest:
        raise UserError(
            f"{root}: digest {stored.digest[:12]}... is not that of the level which "
            f"{index.root / INDEX_NAME} lists ({level.digest[:12]}...); {mend}"
        )
    different = _difference(index, level, stored)
    if different:
        raise UserError(f"{root}: {different}; {mend}")
    return stored


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


def reduce(pixels: Tensor, factor: int) -> Tensor:
    """[H, W, C] uint8 -> [H / factor, W / factor, C] uint8, the level's pixels. factor: a power of two that
    divides both sides."""
    return torch.from_numpy(rounded(block_sums(pixels.numpy(), factor), factor))


def block_sums(values: npt.NDArray[Any], factor: int) -> npt.NDArray[np.uint32]:
    """The sums over blocks [factor, factor] of [H, W, C]. uint32 holds 4096 x 4096 pixels of 255."""
    height, width, channels = values.shape
    # Slices are added, rows first: numpy adds long rows many values at once, and short axes one by one.
    narrow = values.dtype == np.uint8 and factor <= 256
    rows: npt.NDArray[Any] = values[::factor].astype(np.uint16 if narrow else np.uint32)
    for row in range(1, factor):
        rows += values[row::factor]
    blocks = rows.reshape(height // factor, width // factor, factor, channels)
    sums: npt.NDArray[np.uint32] = blocks[:, :, 0].astype(np.uint32)
    for column in range(1, factor):
        sums += blocks[:, :, column]
    return sums


def rounded(sums: npt.NDArray[np.uint32], factor: int) -> npt.NDArray[np.uint8]:
    """sums / factor^2 as uint8, half to even; factor: a power of two."""
    bits = 2 * (factor.bit_length() - 1)
    if bits == 0:
        return sums.astype(np.uint8)
    floor, rest, half = sums >> bits, sums & ((1 << bits) - 1), 1 << (bits - 1)
    up = (rest > half) | ((rest == half) & (floor & 1 == 1))
    means: npt.NDArray[np.uint8] = (floor + up).astype(np.uint8)
    return means
