"""Holes in images: at random, sample by sample, or as a field of the samples says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contracts import Batch, Randomness, Translation
from pipeline.models.translation.given import in_channels

BOXES, STROKES, VERTICES = 4, 5, 5
_BOX = (0.12, 0.6)  # sides of boxes, by those of the image
_LENGTH, _WIDTH = 0.4, (0.02, 0.2)  # of a stroke's lines, and of the brush, by the shorter side
_TURN = math.pi / 2  # by which a stroke turns at most, to either side


@dataclass(frozen=True)
class WithHoles:
    """Implements Giving: images whose holes are 0, followed by a channel that is 1 in holes, else 0.

    kind: as `holes` of the configuration. field: the name of the field that says where, for kind "field".
    """

    image_channels: int
    kind: str
    field: str

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field,) if self.kind == "field" else ()

    @property
    def channels(self) -> int:
        return self.image_channels + 1

    def inputs(self, reals: Batch, randomness: Randomness) -> Tensor:
        return self.taken(reals.images, self._holes(reals, randomness))

    def _holes(self, reals: Batch, randomness: Randomness) -> Tensor:
        if self.kind == "field":
            return (reals.extra[self.field] > 0).to(reals.images.dtype)
        height, width = reals.images.shape[2:]
        return holes_for(self.kind, height, width, randomness)

    def taken(self, given: Tensor, holes: Tensor | None = None) -> Tensor:
        assert holes is not None, "asked for beside the images"
        return torch.cat([given * (1 - holes), holes], dim=1)

    @property
    def translation(self) -> Translation:
        return Translation(self.image_channels, holes=True)

    def finished(self, images: Tensor, inputs: Tensor) -> Tensor:
        known, holes = inputs[:, :-1], inputs[:, -1:]
        return known + images * holes

    def shown(self, inputs: Tensor, size: tuple[int, int], channels: int) -> Tensor:
        images, holes = inputs[:, :-1], inputs[:, -1:]
        return in_channels(images * (1 - holes) + holes, channels)


def holes_for(kind: str, height: int, width: int, randomness: Randomness) -> Tensor:
    """Returns holes [N, 1, height, width], 1 inside and 0 outside; there is some of both in each."""
    if kind == "centre":
        centre = torch.zeros_like(randomness.uniform(1, height, width))
        top, left = height // 4, width // 4
        centre[:, :, top : height - top, left : width - left] = 1
        return centre
    if kind == "boxes":
        return _boxes(height, width, randomness)
    if kind == "strokes":
        return _strokes(height, width, randomness)
    boxed = randomness.uniform(1, 1, 1) < 0.5
    boxes, strokes = _boxes(height, width, randomness), _strokes(height, width, randomness)
    return torch.where(boxed, boxes, strokes)


def _boxes(height: int, width: int, randomness: Randomness) -> Tensor:
    count = randomness.integers(BOXES)[:, None] + 1
    low, high = _BOX
    sides = low + randomness.uniform(BOXES, 2) * (high - low)
    start = randomness.uniform(BOXES, 2) * (1 - sides)
    y, x = _pixels(height, width, sides)
    inside = (
        (y >= start[..., 0, None, None])
        & (y < (start + sides)[..., 0, None, None])
        & (x >= start[..., 1, None, None])
        & (x < (start + sides)[..., 1, None, None])
    )
    return _any(inside, count)


def _strokes(height: int, width: int, randomness: Randomness) -> Tensor:
    """Broken lines of `VERTICES` points, each drawn with a round brush."""
    count = randomness.integers(STROKES)[:, None] + 1
    turns = (randomness.uniform(STROKES, VERTICES - 1) * 2 - 1) * _TURN
    angles = randomness.uniform(STROKES, 1) * (2 * math.pi) + turns.cumsum(dim=2)
    lengths = randomness.uniform(STROKES, VERTICES - 1) * _LENGTH
    steps = torch.stack([angles.sin() * lengths, angles.cos() * lengths], dim=-1)
    first = randomness.uniform(STROKES, 1, 2)
    points = torch.cat([first, first + steps.cumsum(dim=2)], dim=2)
    low, high = _WIDTH
    brush = (low + randomness.uniform(STROKES) * (high - low)) / 2
    y, x = _pixels(height, width, points)
    shorter = min(height, width)
    y, x = y * (height / shorter), x * (width / shorter)
    scale = torch.stack([points.new_full((), side / shorter) for side in (height, width)])
    near = torch.stack(
        [_distance(y, x, points[:, :, i] * scale, points[:, :, i + 1] * scale) for i in range(VERTICES - 1)]
    ).amin(dim=0)
    return _any(near <= brush[..., None, None], count)


def _distance(y: Tensor, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The distance of each pixel from each line, [N, lines, H, W]."""
    ay, ax = (start[..., i, None, None] for i in (0, 1))
    dy, dx = (end[..., i, None, None] - start[..., i, None, None] for i in (0, 1))
    along = (((y - ay) * dy + (x - ax) * dx) / (dy**2 + dx**2).clamp(min=1e-9)).clamp(0, 1)
    return ((y - ay - along * dy) ** 2 + (x - ax - along * dx) ** 2).sqrt()


def _pixels(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of pixels, by the sides of the image."""
    y = (torch.arange(height, device=like.device) + 0.5) / height
    x = (torch.arange(width, device=like.device) + 0.5) / width
    return y[None, None, :, None], x[None, None, None]


def _any(inside: Tensor, count: Tensor) -> Tensor:
    """Joins the first `count` [N, 1] of shapes [N, shapes, H, W]."""
    number = torch.arange(inside.shape[1], device=inside.device)[None]
    chosen = inside & (number < count)[..., None, None]
    return chosen.any(dim=1, keepdim=True).float()
