"""StyleGAN3's schema."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import (
    AdaConfig,
    FewImages,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Whole,
    check_augmented,
)
from pipeline.config.units import Count, PositiveCount


class StyleGAN3Config(FewImages, Objectives, Optimisation):
    """StyleGAN3 (Karras et al. 2021) with StyleGAN2's discriminator and adaptive augmentation. Defaults are
    those of config T; config R has `kernel` 1, `radial` true, twice the channels and a blur at the start."""

    name: Literal["stylegan3"] = "stylegan3"
    tells_steps: ClassVar[bool] = True

    z_dim: Whole = 512
    """Size of the input latent z."""
    w_dim: Whole = 512
    """Size of the intermediate latent w."""
    mapping_layers: Whole = 2
    """Fully connected layers from z to w."""
    mapping_rate: Positive = 0.01
    """Learning-rate multiplier of the mapping network."""
    channel_base: Whole = 32768
    """Channels of a layer that keeps frequencies up to f, in cycles an image, are min(channel_base / (2 f),
    channel_max), rounded. 65536 in config R."""
    channel_max: Whole = 512
    """Most channels of any layer of the generator. 1024 in config R."""
    layers: Annotated[int, Field(ge=2)] = 14
    """Layers of the generator, besides its input and its image output (Karras et al. 2021, section 3.2)."""
    critical_layers: Annotated[int, Field(ge=1)] = 2
    """How many of the last layers sample critically: they keep all frequencies that the image can have."""
    kernel: Literal[1, 3] = 3
    """Side of the convolutions. With 1, as in config R, no layer tells directions apart."""
    radial: bool = False
    """Downsample through radially symmetric filters, as config R does, except in the critical layers."""
    first_cutoff: Positive = 2.0
    """Frequency up to which the input and the first layer keep everything, in cycles an image."""
    first_stopband: Positive = 2**2.1
    """Frequency from which on the first layer lets nothing pass, in cycles an image."""
    last_stopband_rel: Annotated[float, Field(gt=1)] = 2**0.3
    """The same of the last layers, as a multiple of the highest frequency of the image."""
    margin: Annotated[int, Field(ge=0)] = 10
    """Samples by which features reach beyond the image on each side, so that nothing depends on where it
    ends."""
    filter_size: Annotated[int, Field(ge=2, le=8, multiple_of=2)] = 6
    """Taps of resampling filters for each sample of their lower rate."""
    output_scale: Positive = 0.25
    """Factor on the generator's output."""
    magnitude_half_life_images: Count = 20_000
    """Half-life of the running mean square of each layer's input, by whose root it is divided, in images; 0:
    it stays 1."""

    discriminator_architecture: Literal["skip", "residual"] = "residual"
    """Discriminator: RGB skip inputs, or residual blocks (Karras et al. 2020a, figure 7)."""
    discriminator_channel_base: Whole = 32768
    """Channels of the discriminator at resolution r are min(discriminator_channel_base / r,
    discriminator_channel_max)."""
    discriminator_channel_max: Whole = 512
    """Most channels of any layer of the discriminator."""
    minibatch_stddev_group: Whole = 4
    """Images in each group of the minibatch standard deviation; must divide the number of images that a
    process computes at once."""
    minibatch_stddev_channels: Annotated[int, Field(ge=0)] = 1
    """Feature maps added by the minibatch standard deviation; 0 leaves it out."""
    low_precision_levels: Annotated[int, Field(ge=0)] = 4
    """With engine.precision=bfloat16: how many of the highest sampling rates of the generator, and of the
    highest resolutions of the discriminator, run in bfloat16."""
    clamp: Positive | None = 256.0
    """Bound that the activations of the low-precision layers are clamped to; null: none."""
    clamp_everywhere: bool = False
    """Clamp the activations of all layers, whatever their precision, as the paper's public code does."""
    conditioning: Literal["projection", "classifier"] = "projection"
    """How the discriminator takes labels: by projection, as the paper's public code, or by an auxiliary
    classifier."""
    label_mapping_layers: Whole = 8
    """Fully connected layers from a label to its projection."""
    freeze_discriminator: Annotated[int, Field(ge=0)] = 0
    """Freeze-D (Mo et al. 2020): so many of the discriminator's layers, counted from the image, keep the
    weights that they start with, as in `stylegan2`."""

    r1_gamma: NonNegative = 8.0
    """Weight of the R1 penalty (Mescheder et al. 2018, eq. 9). The public code: 2 at 256 pixels, 8 at 512 and
    32 at 1024, for batches of 32."""
    r1_every: Whole = 16
    """Steps between R1 penalties."""
    generator_rate: Positive = 0.0025
    """Adam's learning rate for the generator."""
    ema_ramp: Positive | None = 0.05
    """Early in training the half-life is at most this fraction of the images seen. null: no ramp, as always
    with `start.transfer`."""
    w_avg_decay: Annotated[float, Field(gt=0, lt=1)] = 0.998
    """Decay, at each step, of the running mean of w, which truncation pulls towards."""
    blur_sigma: NonNegative = 0.0
    """Blur of all that the discriminator sees, at the start: distance in pixels at which the filter's weight
    is half of that in its middle (Karras et al. 2021, appendix F). It shrinks linearly to 0. 10 in config
    R."""
    blur_images: PositiveCount = 200_000
    """Images after which the blur is gone."""
    ada: AdaConfig = AdaConfig()
    """Adaptive discriminator augmentation."""

    def transferred(self) -> Self:
        """As for every family, and the discriminator, which knows images already, sees them sharp."""
        return super().transferred().model_copy(update={"blur_sigma": 0.0})

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        if self.critical_layers >= self.layers:
            raise ValueError(
                f"critical_layers: {self.critical_layers} of {self.layers} layers leave none that raises the "
                f"frequencies; allowed: up to {self.layers - 1}"
            )
        if self.first_stopband <= self.first_cutoff:
            raise ValueError(
                f"first_stopband: {self.first_stopband:g} is not above first_cutoff={self.first_cutoff:g}; "
                "allowed: above it"
            )
        return self

    @model_validator(mode="after")
    def _together(self) -> Self:
        check_augmented(self, self.ada, self.conditioning)
        return self
