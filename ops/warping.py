"""The positions from which the pixels of warped images are taken."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ops import _library


def warp_grid_reference(
    linear: Tensor, offset: Tensor, size: tuple[int, int], *, taps: int, margin: int, centre: float
) -> Tensor:
    """Returns the positions, in images upsampled by 2, from which warped images are taken, for `grid_sample`.

    Karras et al. 2020b, figure 20, lines 33-47. source = linear @ target + offset, in pixels from the centre
    of the image, x before y. linear: [N, 2, 2]. offset: [N, 2]. size: (height, width) of the images. The
    result is [N, F_y, F_x, 2], where F = 2 * side - 2 + taps is the number of places that a downsampling
    filter with `taps` taps covers. Positions are in [-1, 1] across the upsampled image, which has margins of
    `margin` original pixels and in which pixel j lies at place 2j + centre. Positions outside the margins are
    reflected about the border pixels of the original, repeatedly if need be. The grid has no derivative:
    raises ValueError if a gradient is asked for.
    """
    _check(linear, offset)
    height, width = size
    across = linear[:, :, 0, None] * _places(width, taps, centre, linear)  # [N, 2, F_x]
    down = linear[:, :, 1, None] * _places(height, taps, centre, linear) + offset[:, :, None]
    axes = [
        _shares(across[:, axis, None, :] + down[:, axis, :, None], side, margin, centre)
        for axis, side in enumerate((width, height))
    ]
    return torch.stack(axes, dim=-1)


def _places(side: int, taps: int, centre: float, like: Tensor) -> Tensor:
    """Returns the places along one axis, [F], in pixels from the centre of the image."""
    places = torch.arange(2 * side - 2 + taps, device=like.device, dtype=like.dtype)
    return (places - centre) / 2 - (side - 1) / 2


def _shares(positions: Tensor, side: int, margin: int, centre: float) -> Tensor:
    """Returns positions along one axis, in pixels from the centre, as shares of the upsampled image."""
    half = (side - 1) / 2
    # A triangle wave of period 2 (side - 1), for positions outside the margins.
    folded = half - (torch.remainder(positions + half, 4 * half).sub_(2 * half)).abs_()
    share, shift = _to_shares(side, margin, centre)
    return torch.where(positions.abs() <= half + margin, positions, folded).mul_(share).add_(shift)


_library.define("warp_grid", warp_grid_reference)


def warp_grid(
    linear: Tensor, offset: Tensor, size: tuple[int, int], *, taps: int, margin: int, centre: float
) -> Tensor:
    """Returns the grid of a warp; see `warp_grid_reference`, which computes that of images that are not
    square, too: the compiled kernels know one side."""
    square = size[0] == size[1]
    chosen = _library.pick("warp_grid", linear.device.type) if square else warp_grid_reference
    grid: Tensor = chosen(linear, offset, size, taps=taps, margin=margin, centre=centre)
    return grid


def first_place(margin: int, centre: float) -> int:
    """Returns the place at which the upsampled image begins, if pixel j lies at place 2j + centre."""
    return math.floor(centre) - 2 * margin


def _to_shares(side: int, margin: int, centre: float) -> tuple[float, float]:
    """Returns the factor and offset that map centred pixels x, at place 2 (x + half) + centre, to [-1, 1]."""
    share = 2 / (2 * side + 4 * margin - 1)
    return 2 * share, (side - 1 + centre - first_place(margin, centre)) * share - 1


def _check(linear: Tensor, offset: Tensor) -> None:
    if torch.is_grad_enabled() and (linear.requires_grad or offset.requires_grad):
        raise ValueError("warp_grid has no derivative: call it under no_grad, or with detached tensors")


def _native_warp_grid(
    linear: Tensor, offset: Tensor, size: tuple[int, int], *, taps: int, margin: int, centre: float
) -> Tensor:
    _check(linear, offset)
    side = size[0]
    share, shift = _to_shares(side, margin, centre)
    grid: Tensor = torch.ops.hrgan.warp_grid(linear, offset, side, taps, margin, centre, share, shift)
    return grid


def _fake(linear: Tensor, offset: Tensor, side: int, taps: int, *_: float) -> Tensor:
    places = 2 * side - 2 + taps
    return linear.new_empty(linear.shape[0], places, places, 2)


_library.provide("warp_grid", _native_warp_grid)
_library.when_loaded(lambda: torch.library.register_fake("hrgan::warp_grid", _fake))
