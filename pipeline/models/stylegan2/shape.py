"""What data and config determine about the networks: resolutions, channels, precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.sides import ALLOWED, LOWEST, Sides, sides_of


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    sides: those of the images, at each level. channels: those of the images. classes: 0 if unlabelled.
    low_precision: the type of activations at the highest `config.low_precision_levels` resolutions; None for
    float32 everywhere.
    """

    config: StyleGAN2Config
    sides: Sides
    channels: int
    classes: int
    low_precision: torch.dtype | None

    @property
    def resolution(self) -> int:
        """The resolution of the images: their side if it is a power of two; otherwise that of squares which
        are doubled from 4 pixels as often as they are."""
        return LOWEST << self.sides.doublings

    @property
    def resolutions(self) -> list[int]:
        """The resolutions of the networks: 4, 8, ..., resolution."""
        return [LOWEST << level for level in range(self.sides.doublings + 1)]

    def size(self, resolution: int) -> tuple[int, int]:
        """Returns (height, width) of the layers at a resolution."""
        return self.sides.at((resolution // LOWEST).bit_length() - 1)

    def width(self, resolution: int) -> int:
        """Returns the channels of the layers at a resolution."""
        return min(self.config.channel_base // resolution, self.config.channel_max)

    def dtype(self, resolution: int) -> torch.dtype:
        """Returns the type of the activations at a resolution (Karras et al. 2020b, appendix D.1)."""
        levels_below_top = (self.resolution // resolution).bit_length() - 1
        low = self.low_precision is not None and levels_below_top < self.config.low_precision_levels
        return self.low_precision if low and self.low_precision is not None else torch.float32

    def clamp(self, resolution: int) -> float | None:
        """Returns the limit on activations at a resolution, or None.

        It applies in exact passes too, so that a penalty differentiates the same function as the one that
        plays. Without low precision there is no limit, unless the config asks for it everywhere.
        """
        low = self.dtype(resolution) != torch.float32
        return self.config.clamp if low or self.config.clamp_everywhere else None


def shape_of(config: StyleGAN2Config, spec: ImageSpec, low_precision: torch.dtype | None) -> Shape:
    """Returns the shape of the networks. Raises UserError for images that this family cannot make, or if
    there are too few channels."""
    sides = sides_of(spec.height, spec.width)
    if not sides.begins or LOWEST << sides.doublings > 1024:
        raise UserError(
            f"stylegan2 cannot make images of {spec.height}x{spec.width} (height x width); allowed: up to "
            f"eight times doubled {ALLOWED}"
        )
    shape = Shape(config, sides, spec.channels, spec.classes, low_precision)
    if config.channel_base < shape.resolution:
        raise UserError(
            f"family.channel_base: {config.channel_base} leaves no channels at {shape.resolution} pixels; "
            f"at least {shape.resolution}"
        )
    maps, width = config.minibatch_stddev_channels, shape.width(LOWEST)
    if maps and width % maps:
        raise UserError(
            f"family.minibatch_stddev_channels: {maps} does not divide the {width} channels at {LOWEST} "
            "pixels; allowed: a divisor of them, or 0"
        )
    return shape
