"""Laplacian pyramids (Burt and Adelson 1983), for the sliced Wasserstein distance.

The filter is the 5x5 binomial [1 4 6 4 1] / 16 in both directions; borders are mirrored without repeating the
edge. Only samples that are kept are computed: there is no convolution over all pixels or over inserted zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_SIDE = 16


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level, finest first: halved, rounding up, while both are at least 16 pixels."""
    sizes = [(height, width)]
    while min(smaller := _half(*sizes[-1])) >= SMALLEST_SIDE:
        sizes.append(smaller)
    return sizes


def _half(height: int, width: int) -> tuple[int, int]:
    return -(-height // 2), -(-width // 2)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """The levels of images [N, C, H, W] (floats), finest first. Each holds what the next coarser one lacks;
    the last is a low-pass image."""
    levels = []
    for _ in level_sizes(images.shape[2], images.shape[3])[1:]:
        coarse = _shrink(_shrink(images.mT).mT)
        levels.append(images - _grow(_grow(coarse.mT, images.shape[2]).mT, images.shape[3]))
        images = coarse
    return [*levels, images]


def _shrink(images: Tensor) -> Tensor:
    """Filters along the last dimension and keeps every second sample."""
    x = F.pad(images, (2, 2, 0, 0), mode="reflect")
    taps = x[..., 0:-4:2] + x[..., 4::2] + 4 * (x[..., 1:-3:2] + x[..., 3:-1:2])
    return taps.add_(x[..., 2:-2:2], alpha=6).div_(16)


def _grow(images: Tensor, size: int) -> Tensor:
    """Puts zeros between samples along the last dimension, up to `size`, and filters with gain 2."""
    # Mirror beyond the last sample; at an even size, a zero lies between it and its mirror image.
    last = images[..., -1:] if size % 2 == 0 else images[..., -2:-1]
    x = torch.cat([images[..., 1:2], images, last], dim=-1)
    grown = images.new_empty(*images.shape[:-1], size)
    grown[..., ::2] = (x[..., :-2] + x[..., 2:]).add_(images, alpha=6).div_(8)
    between = x[..., 1:-1] + x[..., 2:]
    grown[..., 1::2] = between[..., : size // 2].div_(2)
    return grown
