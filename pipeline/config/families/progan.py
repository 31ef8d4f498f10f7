"""ProGAN's schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.families.shared import (
    FewImages,
    Loss,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Whole,
)
from pipeline.config.units import Count, PositiveCount


class ProGANConfig(FewImages, Objectives, Optimisation):
    """ProGAN (Karras et al. 2018): both networks grow from 4 pixels to the data's resolution."""

    name: Literal["progan"] = "progan"

    z_dim: Whole = 512
    """Size of the latent z."""
    fmap_base: Whole = 8192
    """Channels at resolution r are min(2 * fmap_base / r, fmap_max)."""
    fmap_max: Whole = 512
    """Most channels of any layer."""
    fused_scale: bool = True
    """Where the discriminator averages 2x2 pixels. true: between a convolution and its bias, as one
    convolution of stride 2, as in the authors' code. false: after the activation, as in the paper's table
    2."""
    minibatch_stddev_group: Whole = 4
    """Images in each group of the minibatch standard deviation; must divide the number of images that a
    process computes at once. 1 leaves it out."""
    low_precision_levels: Annotated[int, Field(ge=0)] = 4
    """With engine.precision=bfloat16: how many of the highest resolutions run in bfloat16."""

    first_resolution: Whole = 4
    """Pixels a side of the first level. With the data's own resolution the networks do not grow."""
    fade_images: Count = 600_000
    """Images over which a new level fades in; 0 switches it on at once."""
    stable_images: PositiveCount = 600_000
    """Images that a level trains for before the next one fades in."""
    gpus: Literal[1, 2, 4, 8] | None = 8
    """Take each level's batch size and learning rates from the authors' settings for so many GPUs, however
    many there are. null: `batch.size`, `generator_rate` and `discriminator_rate` at all levels."""
    level_batches: tuple[PositiveCount | None, ...] = ()
    """Global batch of each level, beginning with that of 4 pixels; it takes precedence over `gpus`. Levels
    that neither names have `batch.size`."""
    level_rates: tuple[Positive | None, ...] = ()
    """Learning rate of both networks at each level, beginning with that of 4 pixels; it takes precedence over
    `gpus`. Levels that neither names have `generator_rate` and `discriminator_rate`."""

    loss: Loss = "wasserstein"
    """Adversarial loss of both networks."""
    gp_weight: NonNegative = 10.0
    """Weight lambda of the gradient penalty (Gulrajani et al. 2017, eq. 3)."""
    gp_target: Positive = 1.0
    """Norm that the gradient penalty pulls towards (750 for CIFAR-10)."""
    drift_weight: NonNegative = 0.001
    """Weight of the squared logits of reals (Karras et al. 2018, appendix A.1)."""
    conditioning: Literal["classifier"] = "classifier"
    """How the discriminator takes labels: by an auxiliary classifier (Odena et al. 2017)."""
    generator_rate: Positive = 0.001
    """Adam's learning rate for the generator, at levels that `level_rates` and `gpus` do not name."""
    discriminator_rate: Positive = 0.001
    """Adam's learning rate for the discriminator, likewise."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = 0.999
    """Decay of the averaged generator at each step, whatever the batch. null: it follows from
    `ema_half_life_images`."""
