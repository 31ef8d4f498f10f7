"""Moves by whole pixels: flips, quarter turns, translation (Karras et al. 2020b, appendix B.1, "pixel
blitting")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.augment.draws import Draws

UNIFORMS, NORMALS = 7, 0
_SHIFT = 0.125  # the largest translation, as a fraction of the side


@dataclass(frozen=True, slots=True)
class Moves:
    """The moves of each image, applied in this order; all int64.

    flip: [N]; -1 mirrors left and right, 1 does not. turns: [N], quarter turns anticlockwise. shift: [N, 2],
    pixels to the right and down.
    """

    flip: Tensor
    turns: Tensor
    shift: Tensor


def draw_moves(draws: Draws, size: tuple[int, int]) -> Moves:
    """Draws flips U{0, 1}, turns U{0, 3}, shifts round(U(-1/8, 1/8) * side); half of the flips do nothing.

    size: (height, width). Images that are not square are turned by half turns alone, U{0, 2}.
    """
    height, width = size
    flip = torch.where(draws.fires(), 1 - 2 * draws.whole(2), 1)
    turns = torch.where(draws.fires(), draws.whole(4), 0)
    if height != width:
        turns = turns - turns % 2
    fires = draws.fires()
    x, y = draws.uniform(-_SHIFT, _SHIFT) * width, draws.uniform(-_SHIFT, _SHIFT) * height
    shift = torch.stack([x, y], dim=1)
    return Moves(flip, turns, torch.where(fires[:, None], shift.round().long(), 0))


def move(images: Tensor, moves: Moves) -> Tensor:
    """Moves images [N, C, H, W] exactly, pixel by pixel; beyond the border they are reflected. Quarter turns
    need squares."""
    index = _sources(moves, *images.shape[2:])
    index = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view_as(images)


def _sources(moves: Moves, height: int, width: int) -> Tensor:
    """Returns, for each pixel of the result, the index y * W + x of the pixel that it shows, [N, H, W].

    In centred coordinates X = 2x - (W - 1), Y = 2y - (H - 1), a quarter turn swaps and negates coordinates,
    so that the index of the source is the sum of a term in Y and a term in X.
    """
    x, y = _centred(width, moves.shift[:, 0]), _centred(height, moves.shift[:, 1])  # [N, W], [N, H]
    # cos and sin of the turn; then the flip acts on what has become the horizontal axis.
    cos = (moves.turns == 0).long() - (moves.turns == 2).long()
    sin = (moves.turns == 1).long() - (moves.turns == 3).long()
    from_y = y * (width * cos - moves.flip * sin)[:, None]
    from_x = x * (width * sin + moves.flip * cos)[:, None]
    return (from_y[:, :, None] + from_x[:, None, :] + height * width - 1) // 2


def _centred(side: int, shift: Tensor) -> Tensor:
    """Returns the centred coordinates along one axis that the pixels of the result show before turns and
    flips, [N, side]."""
    last = side - 1
    places = torch.arange(side, device=shift.device)
    # Undo the shift, then fold positions outside the image back into it: a triangle wave of period 2 last.
    folded = last - (torch.remainder(places - shift[:, None], 2 * last) - last).abs()
    return 2 * folded - last
