"""Laplacian pyramids (Burt and Adelson 1983), as the sliced Wasserstein distance sees images.

The filter is their 5x5 binomial, [1 4 6 4 1] / 16 both ways, borders mirrored without repeating the
edge. Only samples that are kept are computed: no convolution over all pixels or over inserted zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_SIDE = 16


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level, finest first: halved (rounded up) while both are 16 pixels at least."""
    sizes = [(height, width)]
    while min(smaller := _half(*sizes[-1])) >= SMALLEST_SIDE:
        sizes.append(smaller)
    return sizes


def _half(height: int, width: int) -> tuple[int, int]:
    return -(-height // 2), -(-width // 2)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """[N, C, H, W] floats -> levels, finest first: each what the next coarser lacks, the last a low-pass."""
    levels = []
    for _ in level_sizes(images.shape[2], images.shape[3])[1:]:
        coarse = _shrink(_shrink(images.mT).mT)
        levels.append(images - _grow(_grow(coarse.mT, images.shape[2]).mT, images.shape[3]))
        images = coarse
    return [*levels, images]


def _shrink(images: Tensor) -> Tensor:
    """Filtered along the last dimension and every second sample kept."""
    x = F.pad(images, (2, 2, 0, 0), mode="reflect")
    taps = x[..., 0:-4:2] + x[..., 4::2] + 4 * (x[..., 1:-3:2] + x[..., 3:-1:2])
    return taps.add_(x[..., 2:-2:2], alpha=6).div_(16)


def _grow(images: Tensor, size: int) -> Tensor:
    """Along the last dimension, zeros put between samples up to `size`, filtered with gain 2."""
    # Mirrored beyond the last sample: at an even size a zero lies between it and the mirror.
    last = images[..., -1:] if size % 2 == 0 else images[..., -2:-1]
    x = torch.cat([images[..., 1:2], images, last], dim=-1)
    grown = images.new_empty(*images.shape[:-1], size)
    grown[..., ::2] = (x[..., :-2] + x[..., 2:]).add_(images, alpha=6).div_(8)
    between = x[..., 1:-1] + x[..., 2:]
    grown[..., 1::2] = between[..., : size // 2].div_(2)
    return grown
