"""Noise and cutout (Karras et al. 2020b, appendix B.4, "image-space corruptions")."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models.augment.draws import Draws

NOISE_UNIFORMS, NOISE_NORMALS = 1, 1
CUTOUT_UNIFORMS, CUTOUT_NORMALS = 3, 0
_NOISE = 0.1  # scale of the half-normal distribution of the noise's standard deviation
_SIDE = 0.5  # of the rectangle, as a share of the image's


def draw_noise_level(draws: Draws) -> Tensor:
    """[N], the noise's standard deviation, Halfnormal(.1^2)."""
    return torch.where(draws.fires(), draws.normal(_NOISE).abs(), 0.0)


def add_noise(images: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """images, noise: [N, C, H, W], noise standard normal; level: [N]."""
    # Where nothing fires 0 * noise is added, which changes no value: what is drawn is finite.
    return torch.addcmul(images, level.to(images.dtype)[:, None, None, None], noise.to(images.dtype))


def draw_hole(draws: Draws) -> Tensor:
    """[N, 2], the centre (x, y) of what is cut out, in shares of the side; infinitely far away for none."""
    fires = draws.fires()
    centre = torch.stack([draws.uniform(0, 1), draws.uniform(0, 1)], dim=1)
    return torch.where(fires[:, None], centre, torch.inf)


def cut_out(images: Tensor, centre: Tensor) -> Tensor:
    """Grey (0) wherever a pixel's centre lies in the rectangle of half the side about `centre`."""
    _, _, h, w = images.shape
    x = _inside(w, centre[:, 0])[:, None, None, :]
    y = _inside(h, centre[:, 1])[:, None, :, None]
    return images.masked_fill(x & y, 0.0)


def _inside(side: int, centre: Tensor) -> Tensor:
    """[N, side] bool, along one axis."""
    places = (torch.arange(side, device=centre.device) + 0.5) / side
    return (places - centre[:, None]).abs() < _SIDE / 2
