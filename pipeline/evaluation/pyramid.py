"""Laplacian pyramids (Burt and Adelson 1983), as the sliced Wasserstein distance sees images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_SIDE = 16
_TAPS = (1.0, 4.0, 6.0, 4.0, 1.0)


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
        coarse = _blur(images)[..., ::2, ::2]
        levels.append(images - _grow(coarse, images.shape[2], images.shape[3]))
        images = coarse
    return [*levels, images]


def _blur(images: Tensor, gain: float = 1.0) -> Tensor:
    """5x5 binomial filter, borders mirrored without repeating the edge."""
    channels = images.shape[1]
    taps = torch.tensor(_TAPS, dtype=images.dtype, device=images.device)
    taps = taps * (gain**0.5 / taps.sum())
    across = taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    rows = F.conv2d(padded, across, groups=channels)
    return F.conv2d(rows, across.transpose(2, 3), groups=channels)


def _grow(images: Tensor, height: int, width: int) -> Tensor:
    """Doubled by zeros between samples and the same filter, gain 4 for the zeros."""
    sparse = images.new_zeros(*images.shape[:2], height, width)
    sparse[..., ::2, ::2] = images
    return _blur(sparse, gain=4.0)
