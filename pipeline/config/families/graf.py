"""GRAF's schema."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import (
    FewImages,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Whole,
)
from pipeline.config.units import Count, PositiveCount

Range = tuple[float, float]
"""The least and the largest value of something, which may be the same."""


class GRAFConfig(FewImages, Objectives, Optimisation):
    """GRAF (Schwarz et al. 2020): a generator that is a radiance field, seen by a camera, and a discriminator
    of patches. Defaults are those of the authors' code for CARLA.

    The camera looks at the origin from a sphere around it, whose poles are above and below.
    """

    name: Literal["graf"] = "graf"

    shape_dim: Whole = 128
    """Size of the shape code, which enters the field beside positions."""
    appearance_dim: Whole = 128
    """Size of the appearance code, which enters it beside directions and cannot change where matter is."""
    label_dim: Whole = 32
    """Size of a label's embedding, which joins both codes."""
    field_width: Annotated[int, Field(ge=2)] = 256
    """Units of a layer of the field; half as many in the layer that sees directions."""
    field_layers: Whole = 8
    """Layers of the field. With more than five, its input joins the activations of the fifth (Mildenhall et
    al. 2020, appendix A)."""
    position_frequencies: Annotated[int, Field(ge=0, le=20)] = 10
    """Octaves of sines and cosines of positions that the field sees (Mildenhall et al. 2020, eq. 4). Each
    doubles the finest detail and what noise there is of it."""
    direction_frequencies: Annotated[int, Field(ge=0, le=20)] = 4
    """The same of directions."""

    azimuth: Range = (0.0, 360.0)
    """From where to where the camera stands around the pole, in degrees, uniformly."""
    polar: Range = (0.0, 85.0)
    """Its angle from the pole, in degrees, so that it is uniform on the sphere: 0 looks down from above, 90
    is level."""
    radius: Range = (10.0, 10.0)
    """Its distance from the origin, uniformly."""
    field_of_view: Annotated[float, Field(gt=0, lt=180)] = 30.0
    """The angle between the left and right edges of an image, in degrees."""
    near: Positive = 7.5
    """Distance from the camera at which rays begin, of one at the largest radius; for others what lies there
    stays the same."""
    far: Positive = 12.5
    """The same where they end."""
    ray_samples: Annotated[int, Field(ge=2)] = 64
    """Points of a ray at which the field is asked."""
    background: Literal["white", "black"] = "white"
    """What rays see that meet nothing."""
    rays_at_once: Whole = 4096
    """Rays that are computed together where whole images are made; more take more memory."""

    patch: Annotated[int, Field(ge=8, le=512)] = 32
    """Rays along each side of what the discriminator sees, a power of two: a grid in the image, whose spacing
    and place are random."""
    patch_scale: Range = (0.25, 1.0)
    """Side of that grid, as a share of the image's side: the least value that training comes down to, and the
    largest."""
    patch_scale_rate: NonNegative = 0.0075
    """The least share begins near the largest one, and falls by exp(-patch_scale_rate) every
    `patch_scale_images` images, as in the authors' code. 0: it is as given from the beginning."""
    patch_scale_images: PositiveCount = 8000
    """See `patch_scale_rate`. The authors' code: 1,000 steps of 8 images."""
    density_noise: NonNegative = 1.0
    """Standard deviation of the noise on densities at the start, which keeps rays from being opaque or empty
    too early. It falls linearly to 0."""
    density_noise_images: PositiveCount = 40_000
    """Images after which it is gone. The authors' code: 5,000 steps of 8 images."""
    discriminator_channels: Annotated[int, Field(ge=2)] = 64
    """Channels of the discriminator at 32 pixels; they double as pixels halve."""
    conditioning: Literal["projection", "classifier"] = "projection"
    """How the discriminator takes labels. projection: by the product of its features with the label's
    embedding (Miyato and Koyama 2018, eq. 3). classifier: not at all; an auxiliary classifier predicts them
    (Odena et al. 2017)."""

    r1_gamma: NonNegative = 20 / 1024
    """Weight of the R1 penalty, gamma / 2 * |grad D|^2 on reals (Mescheder et al. 2018, eq. 9). The authors'
    code takes 10 * |grad D|^2, without 1/2, and averages it over rays, of which an image has 1024."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSProp (Hinton 2012), as in the paper, or Adam, to which `adam_beta1` and so on belong."""
    rmsprop_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """With optimizer=rmsprop: decay of its running mean of squared gradients."""
    generator_rate: Positive = 0.0005
    """Learning rate for the generator."""
    discriminator_rate: Positive = 0.0001
    """Learning rate for the discriminator."""
    rate_halving_images: tuple[Count, ...] = (400_000, 800_000, 1_600_000)
    """Images after which both learning rates are halved, each time once more. The authors' code: 50k, 100k
    and 200k steps of 8 images."""
    ema_half_life_images: Count = 5542
    """Half-life of the averaged generator, in images: a decay of 0.999 a step of 8 images."""

    def transferred(self) -> Self:
        """As for every family, and a field that has learnt goes on without noise."""
        return super().transferred().model_copy(update={"density_noise": 0.0})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.patch & (self.patch - 1):
            raise ValueError(f"patch: {self.patch} is no power of two; allowed: 8, 16, 32, 64 and so on")
        bounds = {"azimuth": (-360, 360), "polar": (0, 180), "radius": (0, math.inf), "patch_scale": (0, 1)}
        for key, (least, most) in bounds.items():
            low, high = getattr(self, key)
            if not least <= low <= high <= most:
                raise ValueError(
                    f"{key}: {low:g} to {high:g}; allowed: two numbers from {least:g} to {most:g}, the "
                    "smaller one first"
                )
        if self.patch_scale[0] == 0 or self.radius[0] == 0:
            raise ValueError("patch_scale, radius: 0 is too small; allowed: above it")
        if self.azimuth[1] - self.azimuth[0] > 360:
            raise ValueError("azimuth: more than one turn; allowed: up to 360 degrees")
        nearest = self.near - (self.radius[1] - self.radius[0])
        if not 0 <= nearest < self.far - (self.radius[1] - self.radius[0]):
            raise ValueError(
                f"near={self.near:g}, far={self.far:g}: at the smallest radius, rays begin at {nearest:g}; "
                "allowed: from 0, and before they end"
            )
        return self
