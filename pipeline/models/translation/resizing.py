"""Resizing by a factor that each image has for itself, as products of matrices: nothing waits for the
device to say how large an image has become."""

from __future__ import annotations

import torch
from torch import Tensor

_CUBIC = -0.5  # the parameter a of Keys 1981, eq. 15
FILTERS = 3
"""The filters of `resize_matrices`: 0 box (area), 1 triangle (bilinear), 2 cubic (bicubic)."""


def resize_matrices(sizes: Tensor, results: Tensor, size: int, result: int, kinds: Tensor) -> Tensor:
    """Returns the matrices [N, result, size] that resize columns of `sizes` pixels to `results` pixels.

    sizes, results: [N], of which the columns and the results hold so many pixels at their beginning, at most
    `size` and `result`. kinds: [N] int64, of `FILTERS`, widened where images become smaller, so that they do
    not alias. Rows beyond `results` repeat the last one.
    """
    scale = (sizes / results)[:, None, None]
    row = torch.arange(result, device=sizes.device).float()[None].minimum(results[:, None] - 1)
    centre = (row[..., None] + 0.5) * scale
    place = torch.arange(size, device=sizes.device)[None, None] + 0.5
    # A box that is not widened would miss or meet pixels by rounding alone.
    x = (place - centre).abs() / scale.clamp(min=1)
    weights = torch.stack([(x <= 0.5).float(), (1 - x).clamp(min=0), _keys(x)], dim=1)
    chosen = weights[torch.arange(len(sizes), device=sizes.device), kinds]
    chosen = chosen * (place < sizes[:, None, None])
    return chosen / chosen.sum(dim=2, keepdim=True).clamp(min=1e-6)


def resized(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Returns images [N, C, H, W], resized by matrices [N, H', H] and [N, W', W]."""
    return down[:, None] @ images @ across[:, None].transpose(2, 3)


def _keys(x: Tensor) -> Tensor:
    near = (_CUBIC + 2) * x**3 - (_CUBIC + 3) * x**2 + 1
    far = _CUBIC * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
