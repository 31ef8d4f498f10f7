"""The camera: where it stands, and the rays that it sends through places of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config.families import GRAFConfig

POSE = 3
"""The numbers of a pose: azimuth and polar angle in radians, and the distance from the origin."""


@dataclass(frozen=True)
class Rays:
    """The rays of N images. origins: [N, 3], of each camera. directions: [N, R, 3], whose component along the
    camera's axis is 1. near, far: [N], where they begin and end, in lengths of directions."""

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor


@dataclass(frozen=True)
class Camera:
    """The camera that a config describes. It looks at the origin; z points up."""

    config: GRAFConfig

    def pose(self, z: Tensor) -> Tensor:
        """Returns poses [N, POSE] of standard normal numbers z [N, POSE]: uniform on the part of the sphere
        that the config allows (Schwarz et al. 2020, section 3.2.1), and uniform in distance. At z = 0 it is
        the middle of each range."""
        azimuth, height, radius = torch.special.ndtr(z).unbind(1)
        first, last = (math.radians(angle) for angle in self.config.azimuth)
        top, bottom = (math.cos(math.radians(angle)) for angle in self.config.polar)
        least, most = self.config.radius
        # Equal heights hold equal parts of a sphere's surface (Archimedes).
        polar = (top + (bottom - top) * height).clamp(-1, 1).acos()
        return torch.stack([first + (last - first) * azimuth, polar, least + (most - least) * radius], dim=1)

    def rays(self, pose: Tensor, places: Tensor, side: int) -> Rays:
        """Returns the rays of poses [N, POSE] through places [N, R, 2] or [R, 2] of an image.

        places: (x, y), to the right and downwards; -1 and 1 are the middles of the outermost pixels. side: of
        the image, in pixels, whose outer edges the field of view reaches.
        """
        azimuth, polar, radius = pose.unbind(1)
        right, up, back = _axes(azimuth, polar)
        reach = math.tan(math.radians(self.config.field_of_view) / 2) * (side - 1) / side
        x, y = (reach * places.expand(len(pose), -1, -1)).unbind(2)
        directions = x[..., None] * right[:, None] - y[..., None] * up[:, None] - back[:, None]
        nearer = self.config.radius[1] - radius
        return Rays(radius[:, None] * back, directions, self.config.near - nearer, self.config.far - nearer)


def _axes(azimuth: Tensor, polar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns unit vectors [N, 3] of cameras that look at the origin: to the right of the image, upwards in
    it, and from the origin to the camera."""
    nothing = torch.zeros_like(azimuth)
    (sa, ca), (sp, cp) = (azimuth.sin(), azimuth.cos()), (polar.sin(), polar.cos())
    right = torch.stack([-sa, ca, nothing], dim=1)
    up = torch.stack([-cp * ca, -cp * sa, sp], dim=1)
    back = torch.stack([sp * ca, sp * sa, cp], dim=1)
    return right, up, back


def pixel_places(side: int, device: torch.device | None = None) -> Tensor:
    """Returns the places [side * side, 2] of the pixels of an image or patch, row by row, as `Camera.rays`
    has them."""
    line = torch.linspace(-1, 1, side, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=2).flatten(0, 1)
