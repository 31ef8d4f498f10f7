"""What data and config determine about the networks of R3GAN."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.config.families import R3GANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError

LOWEST = 4


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    channels: those of the images. classes: 0 if unlabelled. low_precision: the type of the highest
    `config.low_precision_levels` stages in passes that are not exact; None for float32.
    """

    config: R3GANConfig
    channels: int
    classes: int
    low_precision: torch.dtype | None = None

    @property
    def stages(self) -> int:
        return len(self.config.widths)

    @property
    def depth(self) -> int:
        """The number of residual blocks of one network."""
        return sum(self.config.blocks)

    @property
    def taps(self) -> list[float]:
        """The taps of the resampling filter: the config's taps convolved with [1, 1]."""
        taps = self.config.resampling_filter
        return [a + b for a, b in zip((*taps, 0), (0, *taps), strict=True)]

    @property
    def label_features(self) -> int:
        """The number of features that the discriminator compares with a label's embedding."""
        return self.config.discriminator_label_dim or self.config.widths[0]

    def dtype(self, stage: int, exact: bool) -> torch.dtype:
        """Returns the type of a stage; stage 0 is that of 4 pixels."""
        low = stage > 0 and stage >= self.stages - self.config.low_precision_levels
        return torch.float32 if exact or self.low_precision is None or not low else self.low_precision


def shape_of(config: R3GANConfig, spec: ImageSpec, low_precision: torch.dtype | None) -> Shape:
    """Returns the networks' shape. Raises UserError unless the last stage has the images' resolution."""
    if spec.height != spec.width:
        raise UserError(
            f"r3gan needs square images, not {spec.width}x{spec.height}; prepare the data with --resolution"
        )
    side = LOWEST << (len(config.widths) - 1)
    if spec.height != side:
        raise UserError(
            f"family.widths: {len(config.widths)} stages make images of {side}x{side} pixels, not "
            f"{spec.width}x{spec.height}; allowed: one stage for each of 4, 8, ... up to the images' size"
        )
    return Shape(config, spec.channels, spec.classes, low_precision)
