"""What data and config determine about the networks: resolutions, channels, precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.config.families import ProGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError

LOWEST = 4


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    resolution: the side of the images in pixels. channels: those of the images. classes: 0 if unlabelled.
    low_precision: the type of activations at the highest `low_precision_levels` resolutions; None for float32
    everywhere.
    """

    config: ProGANConfig
    resolution: int
    channels: int
    classes: int
    low_precision: torch.dtype | None = None

    @property
    def resolutions(self) -> list[int]:
        """The resolution of each level: 4, 8, ..., resolution."""
        return [1 << level for level in range(2, self.resolution.bit_length())]

    def width(self, resolution: int) -> int:
        """Returns the channels of the layers at a resolution; `width(2)` is that of the discriminator's last
        hidden layer."""
        return min(2 * self.config.fmap_base // resolution, self.config.fmap_max)

    def dtype(self, resolution: int) -> torch.dtype:
        """Returns the type of the activations at a resolution."""
        levels_below_top = (self.resolution // resolution).bit_length() - 1
        if self.low_precision is None or levels_below_top >= self.config.low_precision_levels:
            return torch.float32
        return self.low_precision


def level_of(resolution: int) -> int:
    """Returns the level of a resolution: 4 -> 0, 8 -> 1, 16 -> 2, ..."""
    return resolution.bit_length() - LOWEST.bit_length()


def shape_of(config: ProGANConfig, spec: ImageSpec, low_precision: torch.dtype | None) -> Shape:
    """Returns the shape of the networks. Raises UserError for images that this family cannot make, or if
    there are too few channels."""
    if spec.height != spec.width:
        raise UserError(
            f"progan needs square images, not {spec.width}x{spec.height}; prepare the data with --resolution"
        )
    if spec.height & (spec.height - 1) or not LOWEST <= spec.height <= 1024:
        raise UserError(
            f"progan needs a resolution that is a power of two from 4 to 1024, not {spec.height}; "
            "prepare the data with --resolution"
        )
    if 2 * config.fmap_base < spec.height:
        raise UserError(
            f"family.fmap_base: {config.fmap_base} leaves no channels at {spec.height} pixels; "
            f"at least {spec.height // 2}"
        )
    shape = Shape(config, spec.height, spec.channels, spec.classes, low_precision)
    _check_levels(shape)
    return shape


def _check_levels(shape: Shape) -> None:
    config, known = shape.config, shape.resolutions
    if config.first_resolution not in known:
        raise UserError(
            f"family.first_resolution={config.first_resolution}: allowed with this data: "
            + ", ".join(map(str, known))
        )
    for key, values in (("level_batches", config.level_batches), ("level_rates", config.level_rates)):
        if len(values) > len(known):
            raise UserError(
                f"family.{key}: {len(values)} values; allowed with this data: at most {len(known)}, "
                f"for {LOWEST} to {shape.resolution} pixels"
            )
