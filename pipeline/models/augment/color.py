"""Colour transformations, one affine map of RGB per sample (Karras et al. 2020b, appendix B.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.augment.draws import Draws

UNIFORMS, NORMALS = 7, 3
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.2, 0.5, 1.0  # standard deviations; the latter two of log2


@dataclass(frozen=True, slots=True)
class Colors:
    """The changes to the colours of each image, applied in this order; all [N].

    brightness: is added. contrast: a factor. luma: -1 reflects colours in the plane of zero luma, 1 does not.
    hue: an angle in radians about the luma axis. saturation: a factor on the distance from that axis.
    """

    brightness: Tensor
    contrast: Tensor
    luma: Tensor
    hue: Tensor
    saturation: Tensor


def draw_colors(draws: Draws) -> Colors:
    """Draws brightness ~ N(0, .2^2), contrast ~ Lognormal(0, (.5 ln 2)^2), luma flips ~ U{0, 1}, hue ~
    U(-pi, pi) and saturation ~ Lognormal(0, (ln 2)^2); half of the flips change nothing."""
    return Colors(
        brightness=torch.where(draws.fires(), draws.normal(_BRIGHTNESS), 0.0),
        contrast=torch.where(draws.fires(), draws.log_normal(_CONTRAST), 1.0),
        luma=torch.where(draws.fires(), 1.0 - 2 * draws.whole(2), 1.0),
        hue=torch.where(draws.fires(), draws.uniform(-math.pi, math.pi), 0.0),
        saturation=torch.where(draws.fires(), draws.log_normal(_SATURATION), 1.0),
    )


def recolor(images: Tensor, colors: Colors) -> Tensor:
    """Changes the colours of images [N, C, H, W], where C is 1, 3 or 4. Grey images have only luma, so
    hue and saturation do not change them. A fourth channel, how opaque a pixel is, is no colour and stays."""
    gain = colors.contrast * colors.luma
    bias = (gain * colors.brightness).to(images.dtype)  # along the luma axis, which later steps keep
    if images.shape[1] == 1:
        return images * gain.to(images.dtype)[:, None, None, None] + bias[:, None, None, None]
    if images.shape[1] == 4:
        return torch.cat([recolor(images[:, :3], colors), images[:, 3:]], dim=1)
    matrix = _matrix(colors).to(images.dtype)
    bias = bias[:, None, None].expand(-1, 3, 1)
    return torch.baddbmm(bias, matrix, images.flatten(2)).view_as(images)


def _matrix(colors: Colors) -> Tensor:
    """Returns the product of contrast, luma flip, hue and saturation, [N, 3, 3].

    Let P project onto the luma axis v = (1, 1, 1) / sqrt(3), and let K x = v cross x. The flip is the
    Householder reflection I - 2 P, hue is Rodrigues' rotation P + cos (I - P) + sin K, and saturation is
    P + s (I - P). Since P (I - P) = 0 and K = K (I - P), the product has three terms.
    """
    device = colors.hue.device
    luma = torch.full((3, 3), 1 / 3, device=device)
    eye = torch.eye(3, device=device)
    cross = (eye.roll(-1, 1) - eye.roll(1, 1)) / math.sqrt(3)
    across = colors.contrast * colors.saturation
    weights = (colors.contrast * colors.luma, across * colors.hue.cos(), across * colors.hue.sin())
    along, straight, turned = (weight[:, None, None] for weight in weights)
    return along * luma + straight * (eye - luma) + turned * cross
