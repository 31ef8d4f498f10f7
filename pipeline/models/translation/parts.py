"""Parts of images at random places, the same of all tensors of a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.contracts import Randomness


def parts_of(images: Tensor, side: int, randomness: Randomness) -> Tensor:
    """Returns a square of `side` pixels of each image [N, C, H, W], at a place that its own random numbers
    say."""
    rows = _from(randomness, images.shape[2] - side, side)[:, None, :, None]
    columns = _from(randomness, images.shape[3] - side, side)[:, None, None, :]
    number = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[number, channel, rows, columns]


def _from(randomness: Randomness, room: int, side: int) -> Tensor:
    begin = randomness.integers(room + 1)
    return begin[:, None] + torch.arange(side, device=begin.device)
