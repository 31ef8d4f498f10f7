"""General affine transformations, one a sample (2020b, appendix B.1, "general geometric transformations")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.augment.draws import Draws

UNIFORMS, NORMALS = 7, 4
_SCALE = 0.2  # log2 of isotropic and anisotropic scaling, standard deviation
_SHIFT = 0.125  # fractional translation, standard deviation, of the side


@dataclass(frozen=True, slots=True)
class Affine:
    """Where a result's pixels come from: source = linear @ target + offset, linear [N, 2, 2], offset [N, 2].

    Coordinates (x, y) are in pixels, x to the right, y down, the origin in the middle of the image.
    """

    linear: Tensor
    offset: Tensor

    @property
    def still(self) -> Tensor:
        """[N] bool: the identity, exactly."""
        # Without a tolerance: what was not drawn is 1, 0, cos 0 and sin 0, whose products are the identity to
        # the bit, and small moves that were drawn have to be made.
        eye = torch.eye(2, device=self.linear.device, dtype=self.linear.dtype)
        return (self.linear == eye).flatten(1).all(dim=1) & (self.offset == 0).all(dim=1)

    def after(self, shift: Tensor) -> Affine:
        """This transformation of images that are shifted first, by [N, 2] pixels to the right and down."""
        return Affine(self.linear, self.offset - shift)


def draw_affine(draws: Draws, side: int) -> Affine:
    """Isotropic scaling, rotation, anisotropic scaling, rotation, translation; the inverse of their product.

    A rotation before or after the anisotropic scaling fires with probability p: each with 1 - sqrt(1 - p).
    """
    rotates = 1 - torch.sqrt(1 - draws.p)
    scale = torch.where(draws.fires(), draws.log_normal(_SCALE), 1.0)
    first = torch.where(draws.fires(rotates), draws.uniform(-math.pi, math.pi), 0.0)
    stretch = torch.where(draws.fires(), draws.log_normal(_SCALE), 1.0)
    second = torch.where(draws.fires(rotates), draws.uniform(-math.pi, math.pi), 0.0)
    moves = draws.fires()[:, None]
    shift = torch.stack([draws.normal(_SHIFT * side), draws.normal(_SHIFT * side)], dim=1)
    return inverse(scale, first, stretch, second, torch.where(moves, shift, 0.0))


def inverse(scale: Tensor, first: Tensor, stretch: Tensor, second: Tensor, shift: Tensor) -> Affine:
    """Undoes target = R(second) diag(stretch, 1 / stretch) R(first) scale source + shift.

    Angles [N] in radians, clockwise as seen; scale, stretch [N]; shift [N, 2] pixels.
    """
    squeeze = torch.stack([1 / stretch, stretch], dim=1)[:, :, None]
    linear = rotation(-first) @ (squeeze * rotation(-second)) / scale[:, None, None]
    return Affine(linear, -(linear @ shift[:, :, None]).squeeze(2))


def rotation(angle: Tensor) -> Tensor:
    """[N] radians as matrices [N, 2, 2]; clockwise as seen, y pointing down."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
