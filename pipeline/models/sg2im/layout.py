"""Between objects and pixels: masks that are put into boxes, boxes that are cut out of images."""

from __future__ import annotations

import torch
from torch import Tensor

_THINNEST = 1e-3  # of a box, in shares of the image


def put(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns masks [N, K, M, M] resized into their boxes [N, K, 4], and 0 around them, [N, K, *size].

    Pixels lie as in the authors' code: the middles of the outermost are the image's edges, and those of a
    mask are its box's. Between a mask's pixels it is bilinear, and so is the way from the outermost to the 0
    around. Since boxes have upright sides, it is a product of two matrices, which can be differentiated as
    often as penalties ask for.
    """
    rows, columns = (
        _hats((_spread(length, boxes) - start) / (end - start).clamp(min=_THINNEST), masks.shape[2])
        for length, (start, end) in zip(size, _ends(boxes), strict=True)
    )
    return rows @ masks @ columns.transpose(2, 3)


def cut(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Returns what is in the boxes [N, K, 4] of images [N, C, H, W], resized bilinearly, [N, K, C, side,
    side]. Pixels lie as in `put`."""
    rows, columns = (
        _hats(start + _spread(side, boxes) * (end - start), length)[:, :, None]
        for length, (start, end) in zip(images.shape[2:], _ends(boxes), strict=True)
    )
    return rows @ images[:, None] @ columns.transpose(3, 4)


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Returns the intersection over union of boxes [..., 4] and others; 0 for boxes turned inside out."""
    sides = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    both = sides.clamp(min=0).prod(dim=-1)
    areas = [(each[..., 2:] - each[..., :2]).clamp(min=0).prod(dim=-1) for each in (boxes, others)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-12)


def _ends(boxes: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """Returns top and bottom, then left and right, each [N, K, 1]."""
    left, top, right, bottom = boxes.unsqueeze(3).unbind(2)
    return (top, bottom), (left, right)


def _spread(count: int, like: Tensor) -> Tensor:
    return torch.linspace(0, 1, count, dtype=like.dtype, device=like.device)


def _hats(places: Tensor, count: int) -> Tensor:
    """Returns how much of each of `count` pixels over [0, 1] there is at places [..., P]: [..., P, count]."""
    pixels = torch.arange(count, dtype=places.dtype, device=places.device)
    return (1 - (places[..., None] * (count - 1) - pixels).abs()).clamp(min=0)
