"""General affine transformations, one per sample (Karras et al. 2020b, appendix B.1, "general geometric
transformations")."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.augment.draws import Draws

UNIFORMS, NORMALS = 7, 4
_SCALE = 0.2  # standard deviation of log2 of isotropic and anisotropic scaling
_SHIFT = 0.125  # standard deviation of translation, as a fraction of the side along which it goes


@dataclass(frozen=True, slots=True)
class Affine:
    """The source of each pixel: source = linear @ target + offset, with linear [N, 2, 2] and offset [N, 2].

    Coordinates (x, y) are in pixels, x to the right and y down, with the origin at the centre of the image.
    """

    linear: Tensor
    offset: Tensor

    @property
    def still(self) -> Tensor:
        """Which transformations are exactly the identity, [N] bool."""
        # No tolerance: parameters of operations that did not fire are 1, 0, cos 0 and sin 0, whose products
        # are the identity to the bit, and small moves that were drawn have to be applied.
        eye = torch.eye(2, device=self.linear.device, dtype=self.linear.dtype)
        return (self.linear == eye).flatten(1).all(dim=1) & (self.offset == 0).all(dim=1)

    def after(self, shift: Tensor) -> Affine:
        """Returns the transformation that shifts images by [N, 2] pixels to the right and down before it
        applies this one."""
        return Affine(self.linear, self.offset - shift)


def draw_affine(draws: Draws, size: tuple[int, int]) -> Affine:
    """Draws isotropic scaling, rotation, anisotropic scaling, rotation and translation, and returns the
    inverse of their product. size: (height, width) of the images in pixels.

    The rotations before and after the anisotropic scaling each fire with probability 1 - sqrt(1 - p), so that
    at least one fires with probability p.
    """
    rotates = 1 - torch.sqrt(1 - draws.p)
    scale = torch.where(draws.fires(), draws.log_normal(_SCALE), 1.0)
    first = torch.where(draws.fires(rotates), draws.uniform(-math.pi, math.pi), 0.0)
    stretch = torch.where(draws.fires(), draws.log_normal(_SCALE), 1.0)
    second = torch.where(draws.fires(rotates), draws.uniform(-math.pi, math.pi), 0.0)
    moves = draws.fires()[:, None]
    height, width = size
    shift = torch.stack([draws.normal(_SHIFT * width), draws.normal(_SHIFT * height)], dim=1)
    return inverse(scale, first, stretch, second, torch.where(moves, shift, 0.0))


def inverse(scale: Tensor, first: Tensor, stretch: Tensor, second: Tensor, shift: Tensor) -> Affine:
    """Returns the inverse of target = R(second) diag(stretch, 1 / stretch) R(first) scale source + shift.

    Angles [N] in radians, clockwise as seen; scale, stretch [N]; shift [N, 2] pixels.
    """
    squeeze = torch.stack([1 / stretch, stretch], dim=1)[:, :, None]
    linear = rotation(-first) @ (squeeze * rotation(-second)) / scale[:, None, None]
    return Affine(linear, -(linear @ shift[:, :, None]).squeeze(2))


def rotation(angle: Tensor) -> Tensor:
    """Returns rotations by [N] radians as matrices [N, 2, 2]; clockwise as seen, since y points down."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
