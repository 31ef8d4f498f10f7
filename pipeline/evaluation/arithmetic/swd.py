"""The sliced Wasserstein distance between sets of images (Karras et al. 2018 (ProGAN), section 5).

For each level of the Laplacian pyramid down to 16 pixels, 128 random 7x7 patches are cut from every image. In
each set, each channel of all patches is normalised to mean 0 and standard deviation 1. The patches are
projected on 512 random directions, and the distance is the mean over directions of the 1-D Wasserstein-1
distance. As in the paper, figures are multiplied by 1000 and reported for each level and as the mean over
levels. Both sets must have the same size.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.evaluation.arithmetic.pyramid import laplacian_pyramid, level_sizes
from pipeline.randomness import derive_seed, seeded

PATCH = 7
PATCHES = 128
DIRECTIONS = 512
SCALE = 1000.0
_AT_ONCE = 8  # directions in a thread: twice 32 MB for 8,192 images
_THREADS = 4
_ROWS = 65536
_PIECE = 2**22  # values

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Distances:
    """The distance at each level, times 1000, keyed by the level's smaller side in pixels."""

    levels: dict[int, float]

    @property
    def value(self) -> float:
        """The mean over levels."""
        return sum(self.levels.values()) / len(self.levels)


class PatchCutter:
    """Cuts the patches of a set of `count` images. Where they lie depends only on `seed` and on the image's
    place in the set."""

    def __init__(self, count: int, height: int, width: int, seed: int) -> None:
        sizes = level_sizes(height, width)
        self.count, self.sides = count, [min(size) for size in sizes]
        self._positions = [_positions(count, size, derive_seed("swd-patches", seed, *size)) for size in sizes]

    def cut(self, images: Tensor, first: int) -> list[Tensor]:
        """The patches of uint8 images [N, C, H, W], the first of which has place `first`: for each level [n *
        128, C, 49] float32 on the CPU, where n counts the images within the set."""
        images = images[: max(self.count - first, 0)]
        # Small pieces fit the caches and reuse memory that the allocator already holds.
        size = max(_PIECE // images.shape[1:].numel(), 1)
        pieces = [self._cut(images[at : at + size], first + at) for at in range(0, len(images), size)]
        return [torch.cat(level) for level in zip(*pieces, strict=True)]

    def _cut(self, images: Tensor, first: int) -> list[Tensor]:
        levels = laplacian_pyramid(images.float())
        last = first + len(images)
        return [
            _patches(level, at[first:last]).cpu() for level, at in zip(levels, self._positions, strict=True)
        ]


class Descriptors:
    """The patches of a set of `count` images, level by level, in files that vanish with the object.

    They are on disk, in the system's temporary folder, because 8,192 images of 1024 pixels have 4 GiB of
    them; the page cache keeps as much in memory as there is room for.
    """

    def __init__(self, count: int, channels: int, height: int, width: int) -> None:
        self.count, self.sides = count, [min(size) for size in level_sizes(height, width)]
        self._filled = 0
        shape = (count * PATCHES, channels, PATCH * PATCH)
        self._levels = [_spill(shape) for _ in self.sides]

    @property
    def full(self) -> bool:
        """Whether all images have been added."""
        return self._filled == self.count

    def add(self, levels: Sequence[Tensor]) -> None:
        """Adds the patches of the next images, as a `PatchCutter` cuts them."""
        start = self._filled * PATCHES
        for rows, store in zip(levels, self._levels, strict=True):
            store[start : start + len(rows)] = rows.numpy()
        self._filled += len(levels[0]) // PATCHES

    def level(self, number: int, first: int = 0, last: int | None = None) -> Tensor:
        """The normalised descriptors [n * 128, C * 49] of images first .. last - 1 at a level."""
        if not self.full:
            raise ValueError(f"{self._filled} of {self.count} images added")
        stop = self.count if last is None else last
        rows = torch.from_numpy(np.array(self._levels[number][first * PATCHES : stop * PATCHES]))
        rows -= _channel_means(rows)[:, None]
        spread = _channel_means(rows, power=2).sqrt()
        # A constant channel, as of a generator that paints one colour, stays 0.
        rows /= torch.where(spread > 0, spread, 1)[:, None]
        return rows.reshape(len(rows), -1)


def sliced_wasserstein(
    first: Descriptors, second: Descriptors, seed: int, device: torch.device | str = "cpu"
) -> Distances:
    """The distance between two sets of the same count and shape. The directions depend only on `seed`."""
    if (first.count, first.sides) != (second.count, second.sides):
        raise ValueError(f"sets differ: {first.count} images {first.sides}, {second.count} {second.sides}")
    levels = {}
    for number, side in enumerate(first.sides):
        sets = first.level(number), second.level(number)
        levels[side] = SCALE * _distance(*sets, derive_seed("swd", seed, side), device)
    return Distances(levels)


def split_distance(reals: Descriptors, seed: int, device: torch.device | str = "cpu") -> Distances:
    """The distance between the two halves of a set: what a perfect generator would score with half as many
    images. An odd last image is left out."""
    half = reals.count // 2
    levels = {}
    for number, side in enumerate(reals.sides):
        halves = reals.level(number, 0, half), reals.level(number, half, 2 * half)
        levels[side] = SCALE * _distance(*halves, derive_seed("swd", seed, side), device)
    return Distances(levels)


def _distance(first: Tensor, second: Tensor, seed: int, device: torch.device | str) -> float:
    directions = _directions(first.shape[1], seed).to(device)
    left, right = first.to(device), second.to(device)

    def transported(at: int) -> float:
        some = directions[at : at + _AT_ONCE]
        return _transport(some @ left.T, some @ right.T)

    # Sorting takes most of the time and releases the GIL; the order of the sum is fixed.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool:
        return sum(pool.map(transported, range(0, DIRECTIONS, _AT_ONCE))) / DIRECTIONS


def _transport(first: Tensor, second: Tensor) -> float:
    """The 1-D Wasserstein-1 distance, which is the mean |difference| of sorted values, summed over rows."""
    if first.is_cuda:
        gap = (first.sort(dim=1).values - second.sort(dim=1).values).abs()
        return float(gap.mean(dim=1, dtype=torch.float64).sum())
    # On a CPU, numpy's vectorised float32 sort is several times as fast as torch's.
    ours, theirs = first.numpy(), second.numpy()
    ours.sort(axis=1)
    theirs.sort(axis=1)
    return float(np.abs(ours - theirs).mean(axis=1, dtype=np.float64).sum())


def _directions(size: int, seed: int) -> Tensor:
    """Unit vectors [512, size], uniform on the sphere."""
    generator = seeded(seed)
    return F.normalize(torch.randn(DIRECTIONS, size, generator=generator))


def _positions(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """The upper left corner (y, x) of every patch, [count, 128, 2], inside a level of `size`."""
    generator = seeded(seed)
    drawn = [
        torch.randint(length - PATCH + 1, (count, PATCHES), generator=generator, dtype=torch.int32)
        for length in size
    ]
    return torch.stack(drawn, dim=2)


def _patches(level: Tensor, positions: Tensor) -> Tensor:
    """[N, C, H, W] -> [N * 128, C, 49] at positions [N, 128, 2]."""
    corners = positions.long().to(level.device)
    image = torch.arange(len(level), device=level.device)[:, None].expand(-1, PATCHES)
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute(0, 2, 3, 1, 4, 5)
    return windows[image, corners[..., 0], corners[..., 1]].reshape(-1, level.shape[1], PATCH * PATCH)


def _channel_means(rows: Tensor, power: int = 1) -> Tensor:
    """The mean of each channel's values to the given power, [C] float32, over [M, C, 49]; summed in float64,
    in slices."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for at in range(0, len(rows), _ROWS):
        total += rows[at : at + _ROWS].double().pow(power).sum(dim=(0, 2))
    return (total / (rows.shape[0] * rows.shape[2])).float()


def _spill(shape: Sequence[int]) -> Floats:
    # The mapping keeps the unlinked file alive until the array is freed.
    with tempfile.TemporaryFile(prefix="hrgan-swd-", dir=Path(tempfile.gettempdir())) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=tuple(shape))
