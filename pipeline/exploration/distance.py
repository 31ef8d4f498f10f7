"""How far an image is from a photograph, for projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Measure = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] in [-1, 1] -> distance of each to the photograph, [N]."""

_LOWEST = 4


@dataclass(frozen=True)
class Distance:
    """name: for people. to: makes the measure of a photograph [1, C, H, W] in [-1, 1]."""

    name: str
    to: Callable[[Tensor], Measure]


def pixel_and_pyramid(photo: Tensor) -> Measure:
    """Mean square of the pixels' differences, plus the mean over levels of their mean absolute value in
    images averaged over 1, 2, 4, ... pixels a side: coarse levels lead where fine ones do not match."""
    levels = _pyramid(photo)

    def measure(images: Tensor) -> Tensor:
        pairs = zip(_pyramid(images), levels, strict=True)
        apart = torch.stack([(found - wanted).abs().flatten(1).mean(1) for found, wanted in pairs])
        return (images - photo).square().flatten(1).mean(1) + apart.mean(0)

    return measure


PIXELS = Distance("pixels and pyramid", pixel_and_pyramid)


def _pyramid(images: Tensor) -> list[Tensor]:
    levels = [images]
    while min(levels[-1].shape[2:]) >= 2 * _LOWEST:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels
