"""One schema a family, told apart by `family.name`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config.units import Count, PositiveCount


class Strict(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class AdaConfig(Strict):
    """Adaptive discriminator augmentation (Karras et al. 2020b)."""

    mode: Literal["off", "fixed", "adaptive"] = "off"
    """off: none. fixed: always with probability `p`. adaptive: p follows the sign of D(real)."""
    p: Probability = 0.0
    """Probability of each augmentation: constant if fixed, the start if adaptive."""
    target: Probability = 0.6
    """Adaptive: the wanted mean sign of D(real), r_t of section 3."""
    adjust_images: PositiveCount = 500_000
    """Adaptive: images over which p can move from 0 to 1."""
    every: Annotated[int, Field(gt=0)] = 4
    """Adaptive: steps between adjustments of p."""
    kinds: tuple[Literal["blit", "geometry", "color", "filter", "noise", "cutout"], ...] = (
        "blit",
        "geometry",
        "color",
    )
    """Augmentation groups in use; the paper's "bgc" is the default, all six is "bgcfnc"."""


class StyleGAN2Config(Strict):
    """StyleGAN2 (Karras et al. 2020a) with adaptive augmentation (Karras et al. 2020b)."""

    name: Literal["stylegan2"] = "stylegan2"

    z_dim: Annotated[int, Field(gt=0)] = 512
    """Size of the input latent z."""
    w_dim: Annotated[int, Field(gt=0)] = 512
    """Size of the intermediate latent w."""
    mapping_layers: Annotated[int, Field(gt=0)] = 8
    """Fully connected layers from z to w."""
    mapping_rate: Positive = 0.01
    """Learning-rate multiplier of the mapping network."""
    channel_base: Annotated[int, Field(gt=0)] = 32768
    """Channels at resolution r are min(channel_base / r, channel_max); 16384 is "fmaps .5"."""
    channel_max: Annotated[int, Field(gt=0)] = 512
    """Most channels of any layer."""
    generator_architecture: Literal["skip", "residual"] = "skip"
    """Synthesis network: sum of RGB outputs, or residual blocks (Karras et al. 2020a, figure 7)."""
    discriminator_architecture: Literal["skip", "residual"] = "residual"
    """Discriminator: RGB skip inputs, or residual blocks."""
    noise: bool = True
    """Per-pixel noise inputs in the synthesis network."""
    minibatch_stddev_group: Annotated[int, Field(gt=0)] = 4
    """Images a group of the minibatch standard deviation; must divide the images a rank holds at once."""
    minibatch_stddev_channels: Annotated[int, Field(ge=0)] = 1
    """Feature maps added by the minibatch standard deviation; 0 leaves it out."""
    low_precision_levels: Annotated[int, Field(ge=0)] = 4
    """With engine.precision=bfloat16: how many of the highest resolutions run in bfloat16."""
    clamp: Positive | None = 256.0
    """Clamp of the low-precision blocks' activations; null for none."""

    generator_rate: Positive = 0.002
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 0.002
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Adam's second decay."""
    adam_eps: Positive = 1e-8
    """Adam's epsilon."""

    r1_gamma: NonNegative = 10.0
    """Weight of the R1 penalty (Mescheder et al. 2018, eq. 9)."""
    r1_every: Annotated[int, Field(gt=0)] = 16
    """Steps between R1 phases (lazy regularisation)."""
    path_length_weight: NonNegative = 2.0
    """Weight of the path-length penalty (Karras et al. 2020a, eq. 4); 0 leaves it out."""
    path_length_decay: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Decay of the running path-length mean."""
    path_length_shrink: Annotated[int, Field(gt=0)] = 2
    """The path-length phase uses 1/shrink of the batch."""
    path_length_every: Annotated[int, Field(gt=0)] = 4
    """Steps between path-length phases."""
    style_mixing: Probability = 0.9
    """Probability that an image mixes the styles of two latents."""
    w_avg_decay: Annotated[float, Field(gt=0, lt=1)] = 0.995
    """Decay of the running mean of w, which truncation pulls towards."""

    ema_half_life_images: Count = 10_000
    """Half-life of the averaged generator, in images; 0 keeps no average."""
    ema_ramp: Positive | None = None
    """Early in training the half-life is at most this fraction of the images seen; null: no ramp."""

    ada: AdaConfig = AdaConfig()
    """Adaptive discriminator augmentation."""

    @model_validator(mode="after")
    def _channels(self) -> StyleGAN2Config:
        if self.path_length_weight > 0 and self.mapping_layers < 1:
            raise ValueError("path_length_weight needs a mapping network")
        return self


FamilyConfig = Annotated[StyleGAN2Config, Field(discriminator="name")]
"""The union of all families; with one family it is that family."""
