"""What data and config determine about the networks of R3GAN."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.config.families import R3GANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.sides import ALLOWED, LOWEST, sides_of


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    channels: those of the images. classes: 0 if unlabelled. low_precision: the type of the highest
    `config.low_precision_levels` stages in passes that are not exact; None for float32. start: (height,
    width) of the first stage.
    """

    config: R3GANConfig
    channels: int
    classes: int
    low_precision: torch.dtype | None = None
    start: tuple[int, int] = (LOWEST, LOWEST)

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
    sides, shown = sides_of(spec.height, spec.width), f"{spec.height}x{spec.width} (height x width)"
    if not sides.begins:
        raise UserError(f"r3gan cannot make images of {shown}; allowed: {ALLOWED}")
    if len(config.widths) != sides.doublings + 1:
        raise UserError(
            f"family.widths: {len(config.widths)} stages do not make images of {shown}, which begin with "
            f"{sides.start[0]}x{sides.start[1]} pixels; allowed: {sides.doublings + 1} stages, one for each "
            "size up to that of the images"
        )
    return Shape(config, spec.channels, spec.classes, low_precision, sides.start)
