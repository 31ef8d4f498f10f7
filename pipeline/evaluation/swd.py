"""Sliced Wasserstein distance between sets of images: Karras et al. 2018 (ProGAN), section 5.

Per level of the Laplacian pyramid down to 16 pixels: 128 random 7x7 patches an image, each channel of
all patches normalised to mean 0 and deviation 1 (each set by its own), projected on 512 random
directions; the distance is the mean over directions of the 1-D Wasserstein-1 distance. Reported times
1000, a level and averaged over levels, as in the paper. The two sets have the same size.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.evaluation.pyramid import laplacian_pyramid, level_sizes
from pipeline.randomness import derive_seed

PATCH = 7
PATCHES = 128
DIRECTIONS = 512
SCALE = 1000.0
_AT_ONCE = 16  # directions
_ROWS = 65536

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Distances:
    """The distance a level by the level's smaller side in pixels, each times 1000."""

    levels: dict[int, float]

    @property
    def value(self) -> float:
        """Their mean."""
        return sum(self.levels.values()) / len(self.levels)


class Descriptors:
    """The patches of a set of `count` images, level by level, in files that vanish with the object.

    On disk (in the system's temporary folder), because 8,192 images of 1024 pixels have 4 GiB of them:
    memory then holds what the kernel can spare.
    """

    def __init__(self, count: int, channels: int, height: int, width: int, seed: int) -> None:
        sizes = level_sizes(height, width)
        self.count, self.sides = count, [min(size) for size in sizes]
        self._filled = 0
        self._positions = [_positions(count, size, derive_seed("swd-patches", seed, *size)) for size in sizes]
        shape = (count * PATCHES, channels, PATCH * PATCH)
        self._levels = [_spill(shape) for _ in self.sides]

    @property
    def full(self) -> bool:
        """Whether all images have been added."""
        return self._filled == self.count

    def add(self, images: Tensor) -> None:
        """Adds uint8 images [N, C, H, W]; those beyond `count` are left out."""
        images = images[: self.count - self._filled]
        if not len(images):
            return
        start, stop = self._filled, self._filled + len(images)
        levels = laplacian_pyramid(images.float())
        for level, positions, store in zip(levels, self._positions, self._levels, strict=True):
            store[start * PATCHES : stop * PATCHES] = _patches(level, positions[start:stop]).cpu().numpy()
        self._filled = stop

    def level(self, number: int, first: int = 0, last: int | None = None) -> Floats:
        """Normalised descriptors [images * 128, C * 49] of images [first, last) at a level."""
        if not self.full:
            raise ValueError(f"{self._filled} of {self.count} images added")
        stop = self.count if last is None else last
        rows = np.array(self._levels[number][first * PATCHES : stop * PATCHES])
        rows -= rows.mean(axis=(0, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        spread = _deviation(rows)
        # A channel without any spread (a generator that paints one colour) stays 0.
        rows /= np.where(spread > 0, spread, 1).astype(np.float32)[:, None]
        return rows.reshape(len(rows), -1)


def sliced_wasserstein(
    first: Descriptors, second: Descriptors, seed: int, device: torch.device | str = "cpu"
) -> Distances:
    """The distance between two sets of the same count and shape; the directions are a function of `seed`."""
    if (first.count, first.sides) != (second.count, second.sides):
        raise ValueError(f"sets differ: {first.count} images {first.sides}, {second.count} {second.sides}")
    levels = {}
    for number, side in enumerate(first.sides):
        sets = first.level(number), second.level(number)
        levels[side] = SCALE * _distance(*sets, derive_seed("swd", seed, side), device)
    return Distances(levels)


def split_distance(reals: Descriptors, seed: int, device: torch.device | str = "cpu") -> Distances:
    """The distance between the two halves of one set: what a perfect generator would still score with
    half as many images (an odd last image is left out)."""
    half = reals.count // 2
    levels = {}
    for number, side in enumerate(reals.sides):
        halves = reals.level(number, 0, half), reals.level(number, half, 2 * half)
        levels[side] = SCALE * _distance(*halves, derive_seed("swd", seed, side), device)
    return Distances(levels)


def _distance(first: Floats, second: Floats, seed: int, device: torch.device | str) -> float:
    directions = _directions(first.shape[1], seed)
    left, right = torch.from_numpy(first).to(device), torch.from_numpy(second).to(device)
    total = 0.0
    for at in range(0, DIRECTIONS, _AT_ONCE):
        some = directions[at : at + _AT_ONCE].to(device)
        total += _transport(some @ left.T, some @ right.T)
    return total / DIRECTIONS


def _transport(first: Tensor, second: Tensor) -> float:
    """Sum over rows of the 1-D Wasserstein-1 distance: the mean |difference| of sorted values."""
    if first.is_cuda:
        gap = (first.sort(dim=1).values - second.sort(dim=1).values).abs()
        return float(gap.mean(dim=1, dtype=torch.float64).sum())
    # numpy's vectorised sort of float32 is several times as fast as torch's on a CPU.
    gaps = np.abs(np.sort(first.numpy(), axis=1) - np.sort(second.numpy(), axis=1))
    return float(gaps.mean(axis=1, dtype=np.float64).sum())


def _directions(size: int, seed: int) -> Tensor:
    """Unit vectors [512, size], uniform on the sphere."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(DIRECTIONS, size, generator=generator))


def _positions(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """The upper left corner (y, x) of every patch, [count, 128, 2], inside a level of `size`."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        torch.randint(length - PATCH + 1, (count, PATCHES), generator=generator, dtype=torch.int32)
        for length in size
    ]
    return torch.stack(drawn, dim=2)


def _patches(level: Tensor, positions: Tensor) -> Tensor:
    """[N, C, H, W] -> [N * 128, C, 49] at positions [N, 128, 2]."""
    images, channels, height, width = level.shape
    offsets = torch.arange(PATCH)
    corner = positions.long()
    rows = corner[..., 0, None, None] + offsets[:, None]
    columns = corner[..., 1, None, None] + offsets[None, :]
    places = (rows * width + columns).view(images, 1, -1).expand(-1, channels, -1).to(level.device)
    picked = level.reshape(images, channels, height * width).gather(2, places)
    shaped = picked.view(images, channels, PATCHES, PATCH * PATCH).transpose(1, 2)
    return shaped.reshape(images * PATCHES, channels, PATCH * PATCH)


def _deviation(centred: Floats) -> npt.NDArray[np.float64]:
    """Root mean square of each channel [C] of centred rows [M, C, 49], in slices to save memory."""
    parts = (centred[at : at + _ROWS].astype(np.float64) for at in range(0, len(centred), _ROWS))
    squares = sum(np.square(part).sum(axis=(0, 2)) for part in parts)
    return np.asarray(np.sqrt(squares / (centred.shape[0] * centred.shape[2])))


def _spill(shape: Sequence[int]) -> Floats:
    # The mapping keeps the nameless file alive; both go with the array.
    with tempfile.TemporaryFile(prefix="hrgan-swd-", dir=Path(tempfile.gettempdir())) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=tuple(shape))
