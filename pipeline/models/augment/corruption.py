"""Noise and cutout (Karras et al. 2020b, appendix B.4, "image-space corruptions")."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models.augment.draws import Draws

NOISE_UNIFORMS, NOISE_NORMALS = 1, 1
CUTOUT_UNIFORMS, CUTOUT_NORMALS = 3, 0
_NOISE = 0.1  # scale of the half-normal distribution of the noise's standard deviation
_SIDE = 0.5  # the sides of the rectangle, as a fraction of those of the image


def draw_noise_level(draws: Draws) -> Tensor:
    """Draws the standard deviation of the noise, [N], from Halfnormal(.1^2)."""
    return torch.where(draws.fires(), draws.normal(_NOISE).abs(), 0.0)


def add_noise(images: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """Adds `level` [N] times `noise`, standard normal [N, C, H, W], to images of the same shape."""
    # Where nothing fires, 0 * noise is added, which changes no value because the noise is finite.
    return torch.addcmul(images, level.to(images.dtype)[:, None, None, None], noise.to(images.dtype))


def draw_hole(draws: Draws) -> Tensor:
    """Draws the centre (x, y) of the cutout, [N, 2], in fractions of the side; infinite for no cutout."""
    fires = draws.fires()
    centre = torch.stack([draws.uniform(0, 1), draws.uniform(0, 1)], dim=1)
    return torch.where(fires[:, None], centre, torch.inf)


def cut_out(images: Tensor, centre: Tensor) -> Tensor:
    """Sets pixels to grey (0) whose centres lie in the rectangle of half the sides around `centre`."""
    _, _, h, w = images.shape
    x = _inside(w, centre[:, 0])[:, None, None, :]
    y = _inside(h, centre[:, 1])[:, None, :, None]
    return images.masked_fill(x & y, 0.0)


def _inside(side: int, centre: Tensor) -> Tensor:
    """Returns which pixels along one axis lie inside, [N, side] bool."""
    places = (torch.arange(side, device=centre.device) + 0.5) / side
    return (places - centre[:, None]).abs() < _SIDE / 2
