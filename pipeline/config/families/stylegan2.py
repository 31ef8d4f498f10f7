"""StyleGAN2's schema."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import (
    AdaConfig,
    Coded,
    FewImages,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Probability,
    Whole,
    check_augmented,
)


class StyleGAN2Config(FewImages, Objectives, Optimisation, Coded):
    """StyleGAN2 (Karras et al. 2020a) with adaptive augmentation (Karras et al. 2020b)."""

    name: Literal["stylegan2"] = "stylegan2"
    tells_steps: ClassVar[bool] = True

    z_dim: Whole = 512
    """Size of the input latent z."""
    w_dim: Whole = 512
    """Size of the intermediate latent w."""
    mapping_layers: Whole = 8
    """Fully connected layers from z to w."""
    mapping_rate: Positive = 0.01
    """Learning-rate multiplier of the mapping network."""
    channel_base: Whole = 32768
    """Channels at resolution r are min(channel_base / r, channel_max); 16384 is also known as "fmaps .5"."""
    channel_max: Whole = 512
    """Most channels of any layer."""
    generator_architecture: Literal["skip", "residual"] = "skip"
    """Synthesis network: sum of RGB outputs, or residual blocks (Karras et al. 2020a, figure 7)."""
    discriminator_architecture: Literal["skip", "residual"] = "residual"
    """Discriminator: RGB skip inputs, or residual blocks."""
    noise: bool = True
    """Per-pixel noise inputs in the synthesis network."""
    minibatch_stddev_group: Whole = 4
    """Images in each group of the minibatch standard deviation; must divide the number of images that a
    process computes at once."""
    minibatch_stddev_channels: Annotated[int, Field(ge=0)] = 1
    """Feature maps added by the minibatch standard deviation; 0 leaves it out."""
    low_precision_levels: Annotated[int, Field(ge=0)] = 4
    """With engine.precision=bfloat16: how many of the highest resolutions run in bfloat16."""
    clamp: Positive | None = 256.0
    """Bound that the activations of the low-precision blocks are clamped to; null: none."""
    clamp_everywhere: bool = False
    """Clamp the activations of all blocks, whatever their precision, as the paper's public code does."""

    conditioning: Literal["projection", "classifier"] = "projection"
    """How the discriminator takes labels: by projection, as the paper's public code, or by an auxiliary
    classifier."""
    label_mapping_layers: Whole | None = None
    """Fully connected layers from a label to its projection; null: as many as `mapping_layers`."""
    freeze_discriminator: Annotated[int, Field(ge=0)] = 0
    """Freeze-D (Mo et al. 2020): so many of the discriminator's layers, counted from the image, keep the
    weights that they start with. Useful with `start.source`. The first block has four layers (image, two
    convolutions, skip), each further one three."""

    r1_gamma: NonNegative = 10.0
    """Weight of the R1 penalty (Mescheder et al. 2018, eq. 9)."""
    r1_every: Whole = 16
    """Steps between R1 penalties."""
    path_length_weight: NonNegative = 2.0
    """Weight of the path-length penalty (Karras et al. 2020a, eq. 4); 0 leaves it out."""
    path_length_decay: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Decay of the running path-length mean."""
    path_length_shrink: Whole = 2
    """The path-length phase uses 1/shrink of the batch."""
    path_length_every: Whole = 4
    """Steps between path-length phases."""
    style_mixing: Probability = 0.9
    """Probability that an image mixes the styles of two latents."""
    w_avg_decay: Annotated[float, Field(gt=0, lt=1)] = 0.995
    """Decay, at each step, of the running mean of w, which truncation pulls towards. In the public code it
    decays with each pass of the generator, which is 2.25 times a step."""

    auto_gpus: Whole | None = None
    """Settings that are not given, the batch among them, follow from the data's resolution and this number of
    GPUs, by the rule that the paper's public code calls "auto" (Karras et al. 2020b). null: the defaults
    stated here."""
    ada: AdaConfig = AdaConfig()
    """Adaptive discriminator augmentation."""

    @model_validator(mode="after")
    def _augments_what_is_there(self) -> Self:
        self._check_kinds("ada.kinds", () if self.ada.mode == "off" else self.ada.kinds)
        return self

    @model_validator(mode="after")
    def _together(self) -> Self:
        check_augmented(self, self.ada, self.conditioning)
        return self
