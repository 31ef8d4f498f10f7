"""The generator: two codes and a pose become what a camera sees of a radiance field."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import GRAFConfig
from pipeline.contracts import ImageSpec
from pipeline.models.graf.camera import POSE, Camera, pixel_places
from pipeline.models.graf.field import RadianceField
from pipeline.models.graf.rendering import composite, depths_of, weights_of

SHAPE, APPEARANCE, VIEW = range(3)
"""The layers of codes."""


class Generator(nn.Module):
    """Makes images [N, C, H, W] in [-1, 1] from z [N, z_dim] and labels [N].

    z is the shape code, the appearance code, and three normal numbers of which `Camera.pose` makes a pose.
    Codes [N, 3, dim] have a layer each for the three, filled up with zeros; the embedding of the class, if
    there are classes, follows both the shape code and the appearance code.
    """

    layers = 3

    def __init__(self, config: GRAFConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.config, self.classes = config, spec.classes
        self.side, self.channels = spec.height, spec.channels
        self.camera = Camera(config)
        self.sizes = [config.shape_dim, config.appearance_dim, POSE]
        self.z_dim = sum(self.sizes)
        labels = config.label_dim if spec.classes else 0
        self.embed = nn.Embedding(spec.classes, labels) if labels else None
        self.dims = [config.shape_dim + labels, config.appearance_dim + labels, POSE]
        self.field = RadianceField(config, spec.channels, *self.dims[:VIEW])

    def forward(self, z: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Tensor:
        return self.image(self.code(z, labels))

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the codes [N, 3, dim] of z [N, z_dim] and labels [N]."""
        shape, appearance, pose = torch.split(z, self.sizes, dim=1)
        parts = [shape, appearance, self.camera.pose(pose)]
        if self.embed is not None:
            label = self.embed(labels)
            parts[:VIEW] = [torch.cat([part, label], dim=1) for part in parts[:VIEW]]
        size = max(self.dims)
        return torch.stack([F.pad(part, (0, size - part.shape[1])) for part in parts], dim=1)

    def see(
        self,
        codes: Tensor,
        places: Tensor,
        *,
        side: int | None = None,
        jitter: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Returns what is seen at places [N, R, 2] or [R, 2] of the images of codes, [N, R, C] in [-1, 1].

        side: of the image in pixels, None for that of the data. jitter: see `depths_of`; None for points at
        equal distances. noise: added to densities, [N, R, S].
        """
        config, side = self.config, self.side if side is None else side
        shape, appearance, pose = (
            codes[:, layer, :size] for layer, size in zip((SHAPE, APPEARANCE, VIEW), self.dims, strict=True)
        )
        rays = self.camera.rays(pose, places, side)
        depths = depths_of(rays.near, rays.far, config.ray_samples, jitter)
        points = rays.origins[:, None, None] + rays.directions[:, :, None] * depths[..., None]
        lengths = rays.directions.norm(dim=2)
        density, colours = self.field(points, rays.directions / lengths[..., None], shape, appearance)
        density = torch.relu(density if noise is None else density + noise)
        weights = weights_of(density, depths, lengths)
        return 2 * composite(colours, weights, 1.0 if config.background == "white" else 0.0) - 1

    def image(self, codes: Tensor, side: int | None = None) -> Tensor:
        """Returns whole images [N, C, side, side] of codes. side: in pixels, None for that of the data."""
        side = self.side if side is None else side
        at_once = max(self.config.rays_at_once // max(len(codes), 1), 1)
        parts = torch.split(pixel_places(side, codes.device), at_once)
        seen = torch.cat([self.see(codes, places, side=side) for places in parts], dim=1)
        return seen.transpose(1, 2).reshape(len(codes), self.channels, side, side)
