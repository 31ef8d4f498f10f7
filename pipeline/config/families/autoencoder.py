"""The autoencoder's schema."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import Loss, NonNegative, Optimisation, Positive, Whole
from pipeline.config.units import Count


class AutoencoderConfig(Optimisation):
    """The KL autoencoder of Rombach et al. 2022, whose latents other families learn; with other settings the
    variational autoencoder of Kingma and Welling 2014, or one without a distribution of latents.

    It knows no classes. Its generator is encoder and decoder together.
    """

    name: Literal["autoencoder"] = "autoencoder"

    latent_channels: Whole = 4
    """Channels of the latents."""
    base_channels: Whole = 128
    """Channels next to the image; a multiple of `norm_groups`."""
    channel_multipliers: tuple[Whole, ...] = (1, 2, 4, 4)
    """Channels of each level, as multiples of `base_channels`. Between two levels the resolution halves: four
    levels make latents of an eighth of the image's side (f8), three of a quarter (f4)."""
    blocks: Whole = 2
    """Residual blocks of each level of the encoder; the decoder has one more."""
    attention: bool = True
    """Self-attention at the resolution of the latents."""

    norm_groups: Whole = 32
    """Groups of every normalisation. As it takes away the mean of each group, a group needs several channels
    for the colour of the whole image to reach the latents: base_channels / norm_groups is 4 in published
    autoencoders."""

    likelihood: Literal["laplace", "gaussian", "bernoulli"] = "laplace"
    """The distribution of pixels around a reconstruction, whose negative logarithm is the loss. laplace: the
    distance |x - y|, as in Rombach et al. 2022. gaussian: the squared distance. bernoulli: for images of two
    values; others become black below the middle of their range and white above it."""
    learned_scale: bool = False
    """Learn the width of that distribution, one number for all pixels; otherwise it is 1 (for images in
    [-1, 1])."""
    perceptual_weight: NonNegative = 1.0
    """Weight of LPIPS (Zhang et al. 2018), counted once for each number of an image. Above 0 it needs
    `fixtures.perceptual.file`, which `python -m tools.perceptual_weights` writes."""
    distribution: bool = True
    """Latents are drawn from a normal distribution that the encoder tells (Kingma and Welling 2014); if
    false, they are what it says, and `kl_weight` has no meaning."""
    kl_weight: NonNegative = 1e-6
    """Weight of the divergence of that distribution from the standard normal one, in nats. 1 makes the loss
    the negative evidence lower bound (Kingma and Welling 2014, eq. 3)."""

    discriminator: Literal["patches", "none"] = "patches"
    """patches: of Isola et al. 2017, each logit for a part of the image. none: no adversarial loss."""
    discriminator_channels: Whole = 64
    """Channels of the discriminator's first layer, doubled with each further layer up to eight times."""
    discriminator_layers: Whole = 3
    """Layers that halve the resolution; 3 means that each logit sees 70 pixels a side."""
    batch_norm_group: Whole = 4
    """Images in each batch statistic of the discriminator; must divide the number of images that a process
    computes at once."""
    loss: Loss = "hinge"
    """Adversarial loss of both networks."""
    adversarial_weight: NonNegative = 0.5
    """Weight of the adversarial loss, on top of the one that balances it against the others' gradient (Esser
    et al. 2021, eq. 7)."""
    adversarial_from_images: Count = 1_200_000
    """Until so many images have been seen, there is no adversarial loss, and the discriminator does not
    train. The paper's is 50,000 steps of 24 images."""

    generator_rate: Positive = 1.08e-4
    """Adam's learning rate for the autoencoder: 4.5e-6 for each image of the paper's step of 24."""
    discriminator_rate: Positive = 1.08e-4
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged autoencoder, in images; the paper keeps none."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.base_channels % self.norm_groups:
            raise ValueError(
                f"base_channels is {self.base_channels}; allowed: multiples of norm_groups={self.norm_groups}"
            )
        if not self.channel_multipliers:
            raise ValueError("channel_multipliers is empty; allowed: one number a level")
        if self.likelihood == "bernoulli" and self.learned_scale:
            raise ValueError("learned_scale: likelihood=bernoulli has no width; allowed: false")
        if self.loss == "relativistic":
            raise ValueError("loss=relativistic: fakes are reconstructions of the reals; allowed: the others")
        return self
