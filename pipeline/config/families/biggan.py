"""BigGAN's schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.families.shared import (
    Coded,
    FewImages,
    Loss,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Whole,
)
from pipeline.config.units import Count


class BigGANConfig(FewImages, Objectives, Optimisation, Coded):
    """BigGAN and BigGAN-deep (Brock et al. 2019). Defaults are those of BigGAN at 128 pixels, batch 2048."""

    name: Literal["biggan"] = "biggan"

    variant: Literal["biggan", "deep"] = "biggan"
    """biggan: residual blocks of two convolutions (tables 4 to 6). deep: bottlenecks of four convolutions
    (tables 7 to 9)."""
    generator_channels: Whole = 96
    """Width unit ch of the generator; the paper's tables give each block's multiple of it."""
    discriminator_channels: Whole = 96
    """Width unit ch of the discriminator."""
    depth: Whole = 2
    """With variant=deep: how many blocks each resolution has."""
    z_dim: Whole = 120
    """Size of the latent z. With variant=biggan and `hierarchical`, it must be a multiple of the number of
    blocks plus one."""
    hierarchical: bool = True
    """Whether every block sees z: its own chunk of it with variant=biggan, all of it with variant=deep
    (appendix B)."""
    shared_dim: Whole = 128
    """Size of the class embedding that all normalisations of the generator share."""
    generator_attention: tuple[Whole, ...] = (64,)
    """Resolutions after whose blocks the generator has self-attention. Resolutions that it does not pass are
    ignored."""
    discriminator_attention: tuple[Whole, ...] = (64,)
    """The same for the discriminator."""
    conditioning: Literal["projection", "classifier"] = "projection"
    """How the discriminator takes labels: by projection, as in the paper, or by an auxiliary classifier."""
    initialisation: Literal["orthogonal", "normal", "xavier"] = "orthogonal"
    """Initial weights: orthogonal (Saxe et al. 2014), normal with standard deviation 0.02, or Glorot's
    uniform."""
    spectral_eps: Positive = 1e-6
    """Least norm that the power iteration of the spectral normalisation divides by."""
    norm_eps: Positive = 1e-5
    """Epsilon of the batch normalisation, added to the variance."""
    standing_batches: Annotated[int, Field(ge=0)] = 64
    """How many batches sampling draws to measure the statistics of the batch normalisation (section 3). With
    the next key's default that is 4,096 images, as many as in the public code's 16 passes of 256. 0: take the
    running averages of training instead."""
    standing_batch_size: Whole = 64
    """Images in each of these batches."""

    loss: Loss = "hinge"
    """Adversarial loss of both networks."""
    orthogonal_weight: NonNegative = 1e-4
    """Weight beta of the generator's orthogonal regularisation (eq. 3), which applies to all weights except
    the shared embedding. The public code adds half of this term's gradient, and none by default."""
    discriminator_repeats: Whole = 2
    """Turns of the discriminator a step, each on fresh images."""
    generator_rate: Positive = 5e-5
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for the discriminator."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    adam_eps: Positive = 1e-6
    """Adam's epsilon."""
    ema_half_life_images: Count = 28_389_888
    """Half-life of the averaged generator, in images. The default is a decay of .9999 for each step of
    2 x 2048 images."""
    ema_from_images: Count = 81_920_000
    """Until so many images have been seen, the average is a copy of the generator: 20,000 steps of 2 x 2048
    images by default."""
