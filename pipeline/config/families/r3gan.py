"""R3GAN's schema."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import (
    Caution,
    Coded,
    FewImages,
    Loss,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Probability,
    Whole,
)
from pipeline.config.units import Count, PositiveCount


class R3GANConfig(FewImages, Objectives, Optimisation, Coded):
    """R3GAN (Huang et al. 2024). Defaults are those of FFHQ at 256 pixels, batch 256.

    A value with a sibling `*_end` moves to it along half a cosine over `burn_in_images` and stays there.
    """

    name: Literal["r3gan"] = "r3gan"

    z_dim: Whole = 64
    """Size of the latent z."""
    widths: tuple[Whole, ...] = (768, 768, 768, 768, 384, 192, 96)
    """Channels of each stage of the generator, which begins at 4 pixels and doubles them; the discriminator's
    are the same, reversed. The number of stages fits images of 4 * 2^(stages - 1) pixels."""
    cardinalities: tuple[Whole, ...] = (96, 96, 96, 96, 48, 24, 12)
    """Groups of each stage's 3x3 convolutions; each divides its stage's width times `expansion`."""
    blocks: tuple[Whole, ...] = (2, 2, 2, 2, 2, 2, 2)
    """Residual blocks of each stage."""
    expansion: Whole = 2
    """Channels within a residual block, as a multiple of the stage's width."""
    label_dim: Whole = 64
    """Size of the label's embedding that the generator appends to z."""
    discriminator_label_dim: Whole | None = None
    """Features that the discriminator compares with the label's embedding; null: the first of `widths`."""
    resampling_filter: tuple[Positive, ...] = (1, 2, 1)
    """Taps of the filter that interpolates between pixels. Convolved with [1, 1], the taps of resampling by
    two, they give the whole filter: [1, 2, 1] is bilinear, [1, 3, 3, 1] in all."""
    low_precision_levels: Annotated[int, Field(ge=0)] = 4
    """With engine.precision=bfloat16: how many of the highest resolutions run in bfloat16, except where a
    penalty takes derivatives. The stage of 4 pixels is always float32."""

    conditioning: Literal["projection", "classifier"] = "projection"
    """How the discriminator takes labels: by the product of its features with the label's embedding, as in
    the paper's public code, or by an auxiliary classifier."""
    loss: Loss = "relativistic"
    """Adversarial loss of both networks; that of the paper compares each real with a fake (eq. 2)."""
    r1_gamma: NonNegative = 150.0
    """Weight of the R1 penalty, gamma / 2 * |grad D|^2 on reals, at the start."""
    r1_gamma_end: NonNegative = 15.0
    """Weight of the R1 penalty after the burn-in."""
    r2_gamma: NonNegative = 150.0
    """Weight of the R2 penalty, the same on fakes, at the start."""
    r2_gamma_end: NonNegative = 15.0
    """Weight of the R2 penalty after the burn-in."""

    burn_in_images: PositiveCount = 20_000_000
    """Images over which every `*_end` is reached."""
    generator_rate: Positive = 2e-4
    """Adam's learning rate for the generator at the start."""
    generator_rate_end: Positive = 5e-5
    """Adam's learning rate for the generator after the burn-in."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for the discriminator at the start."""
    discriminator_rate_end: Positive = 5e-5
    """Adam's learning rate for the discriminator after the burn-in."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's second decay at the start."""
    adam_beta2_end: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Adam's second decay after the burn-in."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator at the start, in images; 0: the average is a copy."""
    ema_half_life_images_end: Count = 500_000
    """Half-life of the averaged generator after the burn-in."""

    augment_p: Probability = 0.0
    """Probability of each augmentation of what the discriminator sees (Karras et al. 2020b) at the start."""
    augment_p_end: Probability = 0.3
    """Probability of each augmentation after the burn-in. If `augment_p` is 0 too, nothing is augmented."""
    augment_color: Probability = 0.5
    """Factor on the probability of colour augmentations."""
    augment_kinds: tuple[Literal["blit", "geometry", "color", "filter", "noise", "cutout"], ...] = (
        "blit",
        "geometry",
        "color",
        "cutout",
    )
    """Augmentation groups in use."""

    def cautions(self) -> tuple[Caution, ...]:
        lazy = [
            f"family.{name}_every={every}"
            for name, every in (("r1", self.r1_every), ("r2", self.r2_every))
            if every > 1 and getattr(self, f"{name}_gamma") > 0
        ]
        known = "lazy penalties did not converge on StackedMNIST (Huang et al. 2024, appendix)"
        return (
            (Caution(", ".join(lazy), known, "allowed, and the paper's way: 1, at every step"),)
            if lazy
            else ()
        )

    def transferred(self) -> Self:
        """As for every family, and the average has its last half-life from the start."""
        ends = {"ema_half_life_images": self.ema_half_life_images_end}
        return super().transferred().model_copy(update=ends)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not len(self.widths) == len(self.cardinalities) == len(self.blocks):
            raise ValueError(
                f"widths, cardinalities and blocks have {len(self.widths)}, {len(self.cardinalities)} and "
                f"{len(self.blocks)} entries; allowed: one a stage in each"
            )
        for width, groups in zip(self.widths, self.cardinalities, strict=True):
            if width * self.expansion % groups:
                raise ValueError(
                    f"cardinalities: {groups} does not divide the {width * self.expansion} channels of its "
                    "stage's blocks; allowed: a divisor of widths times expansion"
                )
        for name in ("r1_gamma", "r2_gamma"):
            if not getattr(self, name) and getattr(self, f"{name}_end"):
                raise ValueError(f"{name} is 0 and {name}_end is not; allowed: both 0, or {name} above 0")
        self._check_kinds("augment_kinds", self.augment_kinds if self.augment_p_end or self.augment_p else ())
        if self.diffaugment and self.augment_kinds and (self.augment_p or self.augment_p_end):
            raise ValueError(
                f"diffaugment={list(self.diffaugment)}: not with augment_p={self.augment_p:g}, "
                f"augment_p_end={self.augment_p_end:g}; allowed: with both 0, or diffaugment=[]"
            )
        return self
