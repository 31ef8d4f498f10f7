"""What data and config determine about the networks: the plan of layers, precision, the discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from pipeline.config.families import StyleGAN2Config, StyleGAN3Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models import stylegan2
from pipeline.models.sides import sides_of
from pipeline.models.stylegan3.plan import Step, steps_of

_OF_THE_DISCRIMINATOR = (
    "discriminator_architecture",
    "minibatch_stddev_group",
    "minibatch_stddev_channels",
    "low_precision_levels",
    "clamp",
    "clamp_everywhere",
    "conditioning",
    "label_mapping_layers",
    "mapping_rate",
    "diffusion",
)


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    resolution: the side of the images. channels: those of the images. classes: 0 if unlabelled.
    low_precision: the type of activations at the highest `config.low_precision_levels` rates; None for
    float32 everywhere.
    """

    config: StyleGAN3Config
    resolution: int
    channels: int
    classes: int
    low_precision: torch.dtype | None

    @cached_property
    def steps(self) -> list[Step]:
        """Those of the generator's layers and, last, of its image output."""
        return steps_of(self.config, self.resolution, self.channels)

    def dtype(self, step: Step) -> torch.dtype:
        """Returns the type of the activations of a layer."""
        high = step.target.rate << self.config.low_precision_levels > self.resolution
        return self.low_precision if high and self.low_precision is not None else torch.float32

    def clamp(self, step: Step) -> float | None:
        """Returns the limit on activations of a layer, or None, as in StyleGAN2."""
        low = self.dtype(step) != torch.float32
        return self.config.clamp if low or self.config.clamp_everywhere else None

    @property
    def discriminator(self) -> stylegan2.Shape:
        """The shape of StyleGAN2's discriminator."""
        config = self.config
        settings = StyleGAN2Config(
            channel_base=config.discriminator_channel_base,
            channel_max=config.discriminator_channel_max,
            **{key: getattr(config, key) for key in _OF_THE_DISCRIMINATOR},
        )
        spec = ImageSpec(self.resolution, self.resolution, self.channels, self.classes)
        return stylegan2.shape_of(settings, spec, self.low_precision)


def shape_of(config: StyleGAN3Config, spec: ImageSpec, low_precision: torch.dtype | None) -> Shape:
    """Returns the shape of the networks. Raises UserError for images that this family cannot make, or if
    there are too few channels."""
    height, width = spec.height, spec.width
    if height != width:
        raise UserError(
            f"stylegan3 needs square images, not {width}x{height}; prepare the data with --resolution"
        )
    sides = sides_of(height, width)
    if not sides.begins:
        raise UserError(
            f"stylegan3 cannot make images of {height} pixels a side; allowed: 4 to 7 times a power of two, "
            "such as 256, 320 or 384; prepare the data with --resolution"
        )
    if config.discriminator_channel_base < 4 << sides.doublings:
        raise UserError(
            f"family.discriminator_channel_base: {config.discriminator_channel_base} leaves no channels at "
            f"{height} pixels; at least {4 << sides.doublings}"
        )
    shape = Shape(config, height, spec.channels, spec.classes, low_precision)
    assert shape.steps
    assert shape.discriminator
    return shape
