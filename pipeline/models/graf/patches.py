"""Patches: grids of rays through an image, of random spacing and place (Schwarz et al. 2020, section
3.2.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Randomness, Scalar
from pipeline.models.graf.camera import pixel_places


def draw_places(randomness: Randomness, side: int, least: Scalar, most: float) -> Tensor:
    """Draws the places [N, side * side, 2] of a patch of each sample, as `Camera.rays` has them.

    The patch's share of the image's side is uniform from `least` to `most`; its place is uniform where it
    does not leave the image.
    """
    numbers = randomness.uniform(3)
    scale = (least + (most - least) * numbers[:, :1]).to(numbers.dtype)
    shift = (2 * numbers[:, 1:] - 1) * (1 - scale)
    return pixel_places(side, numbers.device) * scale[:, None] + shift[:, None]


def cut(images: Tensor, places: Tensor) -> Tensor:
    """Returns patches [N, C, side, side] of images [N, C, H, W] at places [N, side * side, 2], bilinear
    between pixels."""
    side = round(places.shape[1] ** 0.5)
    grid = places.view(len(places), side, side, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)
