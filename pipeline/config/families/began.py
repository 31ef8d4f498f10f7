"""BEGAN's schema."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import NonNegative, Optimisation, Positive, Whole
from pipeline.config.units import Count, PositiveCount


class BEGANConfig(Optimisation):
    """BEGAN (Berthelot et al. 2017), whose discriminator is an autoencoder. It knows no classes, and its loss
    is its own. Defaults are those of faces at 128 pixels, batch 16."""

    name: Literal["began"] = "began"

    z_dim: Whole = 64
    """Size of the latent z, which is uniform in [-1, 1]."""
    embedding_dim: Whole = 64
    """Size of the embedding h between the discriminator's encoder and decoder."""
    channels: Whole = 128
    """Channels n of both decoders at every resolution; the encoder has n next to the image and n more after
    each halving."""
    layers: Whole = 2
    """3x3 convolutions of each resolution, besides those that change it."""
    start: Annotated[int, Field(ge=2)] = 8
    """Pixels of the shorter side at which decoders begin and the encoder ends, at least; for sides of a power
    of two, exactly."""
    skips: bool = True
    """Show each resolution of a decoder also the tensor that it began with, enlarged (section 3.5.1)."""
    residual_images: Count = 256_000
    """Vanishing residuals (section 3.5.1): a convolution that keeps the number of channels adds its output to
    its input, with weights that move from 0 and 1 to 1 and 0 over so many images. The paper's are 16,000
    steps of 16. 0: none."""

    gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Diversity ratio: what the reconstruction error of fakes is held at, as a share of that of reals (eq.
    4). Lower values give sharper images, all more alike; the paper shows 0.3 to 0.7."""
    balance_rate: NonNegative = 0.001
    """lambda_k: how far k, the weight of fakes in the discriminator's loss, moves in a step for an error of 1
    (section 3.4); 0 holds k at its start, 0."""

    generator_rate: Positive = 1e-4
    """Adam's learning rate for the generator at the start."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate for the discriminator at the start."""
    halve_images: PositiveCount | None = 1_600_000
    """Halve both learning rates each time that so many images have been seen, as public ports do every
    100,000 steps. (The paper halves them when the convergence measure stalls; here a rate is a function of
    images seen.) null: never."""
    rate_floor: NonNegative = 2e-5
    """Halving stops here; a rate that begins below it stays as it is."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator, in images; the paper keeps none."""

    def transferred(self) -> Self:
        """As for every family; and weights that have learnt without residuals get none."""
        return super().transferred().model_copy(update={"residual_images": 0})

    @model_validator(mode="after")
    def _residuals_need_inputs(self) -> Self:
        # With skips, the first convolution of a resolution changes the number of channels: nothing would be
        # left that a residual could pass by, and the rest of the network would be linear in z at the start.
        if self.residual_images and self.skips and self.layers == 1:
            raise ValueError(
                f"residual_images={self.residual_images}: with skips=true and layers=1 no convolution of a "
                "decoder above its first resolution keeps the number of channels; allowed: 0, layers of 2 "
                "and more, or skips=false"
            )
        return self
