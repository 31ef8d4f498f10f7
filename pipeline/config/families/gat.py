"""GAT's schema."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import (
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
from pipeline.config.units import Count


class GATConfig(FewImages, Objectives, Optimisation, Coded):
    """GAT, plain transformers in both networks (Scalable GANs with Transformers, 2025, arXiv 2509.24935), and
    what is known of its successor CAT (arXiv 2605.26449). Defaults are those of size B."""

    name: Literal["gat"] = "gat"

    width: Whole = 768
    """Features of a token: 384, 768, 1024 and 1152 in sizes S, B, L and XL."""
    depth: Whole = 12
    """Transformer blocks: 12, 12, 24 and 28 in sizes S, B, L and XL; a multiple of `levels`."""
    heads: Whole = 12
    """Attention heads: 6, 12, 16 and 16 in sizes S, B, L and XL. Each gets an equal share of `width`, a
    multiple of 4."""
    discriminator_width: Whole | None = None
    """Features of a token of the discriminator; null: `width`."""
    discriminator_depth: Whole | None = None
    """The discriminator's blocks; null: `depth`."""
    discriminator_heads: Whole | None = None
    """The discriminator's attention heads; null: `heads`."""
    patch: Whole = 2
    """Side of the squares of the image, or of the codec's latents, that become one token each."""
    z_dim: Whole = 64
    """Size of the latent z, and of the label's embedding that joins it."""
    label_dim: Whole = 2048
    """Features that the discriminator compares with a label's vector, and hidden width of its alignment."""
    conditioning: Literal["projection"] = "projection"
    """How the discriminator takes labels: by the product of its features with the label's vector."""

    levels: Whole = 4
    """Images that the generator puts out on its way, one after each `depth` / `levels` blocks, all of which
    the discriminator sees."""
    scales: tuple[Whole, ...] | None = None
    """With CAT: how many times smaller than the image each level is, the coarsest first and 1 last, such as
    [8, 4, 2, 1]. Levels then exchange nothing in the discriminator, and each has a logit of its own. null:
    all levels have the size of the image, and the discriminator judges them together."""
    consistency_weight: NonNegative = 0.0
    """With CAT: weight of the mean squared distance between each level and the last one, at the level's
    size."""
    noise_signal: Annotated[float, Field(gt=0, le=1)] = 0.125
    """Share of the coarsest level that the noise in front of the discriminator leaves; it grows geometrically
    to 1 at the last level."""
    noise_floor: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Noise that is added to all levels' shares; less than `noise_signal`."""
    diffaugment: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout")
    """DiffAugment (Zhao et al. 2020): these changes to every image, or its latents, that the discriminator
    sees, in both networks' turns; the same for all levels of a fake. []: none."""
    color_p: Probability = 0.5
    """Probability that an image's colours are changed."""
    flip_p: Probability = 0.4
    """Probability that an image, or its latents as they are, is mirrored left to right."""

    alignment_weight: NonNegative = 0.0
    """Weight of the discriminator's alignment with DINOv2: on reals, the cosine distance of its class token,
    and the mean of that of its other tokens, to the tokens of `fixtures.teacher.file`. 1 in the paper; 0
    needs no file."""
    alignment_features: Whole = 768
    """Features of a token of the teacher: 768 for the paper's ViT-B/14."""
    alignment_translation: Literal["shared", "published"] = "shared"
    """How far the teacher's image is moved when the discriminator's is translated. shared: by the same part
    of its side. published: by at most a pixel, to the right or down alone, as in the authors' code, where
    the ratio of the sides is upside down."""

    loss: Loss = "relativistic"
    """Adversarial loss of both networks; that of the paper compares each real with a fake."""
    r1_gamma: NonNegative = 0.1
    """Weight of the R1 penalty, gamma / 2 * |grad D|^2 on reals."""
    r2_gamma: NonNegative = 0.1
    """Weight of the R2 penalty, the same on fakes."""
    penalty_method: Literal["exact", "finite_difference"] = "finite_difference"
    """How R1 and R2 find |grad D|^2: by the change of D between samples and the same samples slightly moved,
    as in the paper, or by D's gradient."""

    generator_rate: Positive = 2e-4
    """Adam's learning rate for a generator of width `rate_width`."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for a discriminator of width `rate_width`."""
    rate_width: Whole | None = 768
    """The width that both rates are meant for; at another they are divided by its ratio to this one. null:
    they hold at any width."""
    clip_norm: Positive | None = 1.0
    """Each network's gradients are scaled down to this norm if theirs is larger; null: never."""
    ema_half_life_images: Count = 355_000
    """Half-life of the averaged generator, in images: a decay of 0.999 a step at a batch of 512."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sides = (
            ("", self.width, self.heads),
            (
                "discriminator_",
                self.discriminator_width or self.width,
                self.discriminator_heads or self.heads,
            ),
        )
        for side, width, heads in sides:
            if width % (4 * heads):
                raise ValueError(
                    f"{side}width: {width} is no multiple of 4 times the {heads} heads; allowed: a multiple, "
                    "so that rows and columns turn whole pairs of each head's features"
                )
        if self.depth % self.levels:
            raise ValueError(f"levels: {self.levels} does not divide depth {self.depth}; allowed: a divisor")
        if self.noise_floor >= self.noise_signal:
            raise ValueError(
                f"noise_floor: {self.noise_floor} leaves nothing of a level of which noise_signal leaves "
                f"{self.noise_signal}; allowed: less than that"
            )
        if self.scales is not None and not _descend(self.scales, self.levels):
            raise ValueError(
                f"scales: {list(self.scales)}; allowed: one for each of the {self.levels} levels, each a "
                "multiple of the next, and 1 last"
            )
        if self.consistency_weight and self.scales is None:
            raise ValueError("consistency_weight: needs scales; allowed: 0 without them")
        return self

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.diffusion.mode != "off":
            raise ValueError(
                f"diffusion.mode={self.diffusion.mode}: not beside the noise of every level; allowed: off"
            )
        if self.alignment_weight and self.apa.mode != "off":
            raise ValueError(
                f"alignment_weight={self.alignment_weight:g}: not with apa.mode={self.apa.mode}, whose fakes "
                "the teacher does not see; allowed: 0, or apa.mode=off"
            )
        penalties = ((self.r1_gamma, self.r1_every), (self.r2_gamma, self.r2_every))
        now = [gamma > 0 and every == 1 for gamma, every in penalties]
        if self.alignment_weight and self.penalty_method == "finite_difference" and now[0] != now[1]:
            raise ValueError(
                f"alignment_weight={self.alignment_weight:g}: not with one of R1 and R2 alone in each step; "
                "allowed: 0, both or neither of them, or penalty_method=exact"
            )
        return self


def _descend(scales: tuple[int, ...], levels: int) -> bool:
    return (
        len(scales) == levels
        and scales[-1] == 1
        and all(coarse % fine == 0 for coarse, fine in pairwise(scales))
    )
