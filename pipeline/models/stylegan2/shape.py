"""What data and config determine about the networks: resolutions, channels, precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError

LOWEST = 4


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    resolution: the side of the images in pixels. channels: those of the images. classes: 0 if unlabelled.
    low_precision: the type of activations at the highest `config.low_precision_levels` resolutions; None for
    float32 everywhere.
    """

    config: StyleGAN2Config
    resolution: int
    channels: int
    classes: int
    low_precision: torch.dtype | None

    @property
    def resolutions(self) -> list[int]:
        """The resolutions of the networks: 4, 8, ..., resolution."""
        return [1 << level for level in range(2, self.resolution.bit_length())]

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
    if spec.height != spec.width:
        raise UserError(
            f"stylegan2 needs square images, not {spec.width}x{spec.height}; "
            "prepare the data with --resolution"
        )
    if spec.height & (spec.height - 1) or not LOWEST <= spec.height <= 1024:
        raise UserError(
            f"stylegan2 needs a resolution that is a power of two from 4 to 1024, not {spec.height}; "
            "prepare the data with --resolution"
        )
    if spec.channels not in (1, 3):
        raise UserError(f"stylegan2 needs images of 1 or 3 channels, not {spec.channels}")
    if config.channel_base < spec.height:
        raise UserError(
            f"family.channel_base: {config.channel_base} leaves no channels at {spec.height} pixels; "
            f"at least {spec.height}"
        )
    shape = Shape(config, spec.height, spec.channels, spec.classes, low_precision)
    maps, width = config.minibatch_stddev_channels, shape.width(LOWEST)
    if maps and width % maps:
        raise UserError(
            f"family.minibatch_stddev_channels: {maps} does not divide the {width} channels at {LOWEST} "
            "pixels; allowed: a divisor of them, or 0"
        )
    return shape
