"""The positions from which the pixels of warped images are taken."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ops import _library


def warp_grid_reference(
    linear: Tensor, offset: Tensor, side: int, *, taps: int, margin: int, centre: float
) -> Tensor:
    """Returns the positions, in images upsampled by 2, from which warped images are taken, for `grid_sample`.

    Karras et al. 2020b, figure 20, lines 33-47. source = linear @ target + offset, in pixels from the centre
    of the image, x before y. linear: [N, 2, 2]. offset: [N, 2]. side: that of the images in pixels. The
    result is [N, F, F, 2], where F = 2 * side - 2 + taps is the number of places that a downsampling filter
    with `taps` taps covers. Positions are in [-1, 1] across the upsampled image, which has margins of
    `margin` original pixels and in which pixel j lies at place 2j + centre. Positions outside the margins are
    reflected about the border pixels of the original, repeatedly if need be. The grid has no derivative:
    raises ValueError if a gradient is asked for.
    """
    _check(linear, offset)
    half = (side - 1) / 2
    places = torch.arange(2 * side - 2 + taps, device=linear.device, dtype=linear.dtype)
    places = (places - centre) / 2 - half  # [F] centred pixels
    across = linear[:, :, 0, None] * places  # [N, 2, F]
    down = linear[:, :, 1, None] * places + offset[:, :, None]
    grid = across.mT[:, None] + down.mT[:, :, None]  # [N, F, F, 2]
    # A triangle wave of period 2 (side - 1), for positions outside the margins.
    folded = half - (torch.remainder(grid + half, 4 * half).sub_(2 * half)).abs_()
    grid = torch.where(grid.abs() <= half + margin, grid, folded)
    share, shift = _to_shares(side, margin, centre)
    return grid.mul_(share).add_(shift)


_library.define("warp_grid", warp_grid_reference)


def warp_grid(linear: Tensor, offset: Tensor, side: int, *, taps: int, margin: int, centre: float) -> Tensor:
    """Returns the grid of a warp; see `warp_grid_reference`."""
    chosen = _library.pick("warp_grid", linear.device.type)
    grid: Tensor = chosen(linear, offset, side, taps=taps, margin=margin, centre=centre)
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
    linear: Tensor, offset: Tensor, side: int, *, taps: int, margin: int, centre: float
) -> Tensor:
    _check(linear, offset)
    share, shift = _to_shares(side, margin, centre)
    grid: Tensor = torch.ops.hrgan.warp_grid(linear, offset, side, taps, margin, centre, share, shift)
    return grid


def _fake(linear: Tensor, offset: Tensor, side: int, taps: int, *_: float) -> Tensor:
    places = 2 * side - 2 + taps
    return linear.new_empty(linear.shape[0], places, places, 2)


_library.provide("warp_grid", _native_warp_grid)
_library.when_loaded(lambda: torch.library.register_fake("hrgan::warp_grid", _fake))
