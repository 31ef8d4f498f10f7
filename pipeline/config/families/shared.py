"""What every family's schema has: strictness, losses and penalties, optimisation, augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

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


@dataclass(frozen=True)
class Caution:
    """A setting that is allowed although it is known to fail. setting: key and value. known: where it failed.
    instead: what to do."""

    setting: str
    known: str
    instead: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.known}; {self.instead}"


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Whole = Annotated[int, Field(gt=0)]

Loss = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"]

Conditioning = Literal["projection", "embedding", "classifier"]


class Adaptive(Strict):
    """How strong something is that hides the images from the discriminator: a probability, which may follow
    the discriminator's confidence (Karras et al. 2020b, section 3.1)."""

    mode: Literal["off", "fixed", "adaptive"] = "off"
    """off: not at all. fixed: always with probability `p`. adaptive: p follows the sign of D(real)."""
    p: Probability = 0.0
    """The probability: constant if fixed, the start if adaptive."""
    target: Probability = 0.6
    """With mode=adaptive: the mean sign of D(real) that is aimed at, r_t of Karras et al. 2020b, section
    3."""
    adjust_images: PositiveCount = 500_000
    """With mode=adaptive: over how many images p can move from 0 to 1. With `start.transfer` the default is
    100k."""
    every: Whole = 4
    """With mode=adaptive: steps between two adjustments of p."""

    def transferred(self) -> Self:
        """As at the start from others' weights, where p has to move faster (the public code of Karras et al.
        2020b and of Jiang et al. 2021), unless its speed is given."""
        given = "adjust_images" in self.model_fields_set
        return self if given else self.model_copy(update={"adjust_images": 100_000})


class AdaConfig(Adaptive):
    """Adaptive discriminator augmentation (Karras et al. 2020b); p is that of each augmentation."""

    kinds: tuple[Literal["blit", "geometry", "color", "filter", "noise", "cutout"], ...] = (
        "blit",
        "geometry",
        "color",
    )
    """Groups of augmentations in use. The default is what the paper calls "bgc"; all six are its "bgcfnc"."""


class ApaConfig(Adaptive):
    """Adaptive pseudo augmentation (Jiang et al. 2021): p is the probability that a real image is replaced by
    a fake before the discriminator sees it as real."""


class DiffusionConfig(Adaptive):
    """Diffusion-GAN (Wang et al. 2022): the discriminator sees images with the noise of t of T steps, and p
    moves T between two bounds."""

    adjust_images: PositiveCount = 100_000
    """With mode=adaptive: over how many images T can move from one bound to the other."""
    least_steps: Annotated[int, Field(ge=2, le=10_000)] = 10
    """T at p = 0."""
    most_steps: Annotated[int, Field(ge=2, le=10_000)] = 1000
    """T at p = 1."""
    noise: Positive = 0.05
    """Standard deviation of the noise that an image would become after very many steps, where black is -1 and
    white 1."""
    share: Probability = 0.5
    """Probability that an image gets any noise."""
    beta_first: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Share of the image's variance that the first step replaces by noise."""
    beta_last: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """The same at step T; it grows linearly between the two."""
    told: bool = True
    """Whether the discriminator is told t, through the mapping that tells it labels, as in the authors' code
    for StyleGAN2. false: it judges without, as in their code for Projected GAN; families whose discriminators
    have no such mapping need it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for low, high in (("least_steps", "most_steps"), ("beta_first", "beta_last")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{low}={getattr(self, low):g} is above {high}={getattr(self, high):g}; allowed: up to it"
                )
        return self


class FewImages(Strict):
    """What helps where images are few, beside penalties: it keeps the discriminator from knowing them by
    heart."""

    diffaugment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """DiffAugment (Zhao et al. 2020): these changes to every image that the discriminator sees, in both
    networks' turns. color: of brightness, saturation and contrast. translation: by up to 1/8 of each side.
    cutout: a hole of half of each side. Not beside another augmentation. []: none."""
    apa: ApaConfig = ApaConfig()
    """Adaptive pseudo augmentation, which may be combined with any augmentation."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """Noise of a diffusion process, which comes after any augmentation."""

    tells_steps: ClassVar[bool] = False
    """Whether the family's discriminator can be told how much noise an image has."""

    @model_validator(mode="after")
    def _told_who_can_be(self) -> Self:
        if self.diffusion.mode != "off" and self.diffusion.told and not self.tells_steps:
            raise ValueError(
                "diffusion.told=true: this family's discriminator cannot be told; allowed: false"
            )
        return self


def check_augmented(config: FewImages, ada: AdaConfig, conditioning: str) -> None:
    """Raises ValueError for what cannot stand beside `ada` or a discriminator of this conditioning."""
    if config.diffaugment and ada.mode != "off":
        raise ValueError(
            f"diffaugment={list(config.diffaugment)}: not with ada.mode={ada.mode}; "
            "allowed: with ada.mode=off, or diffaugment=[]"
        )
    if config.diffusion.mode != "off" and config.diffusion.told and conditioning == "classifier":
        raise ValueError(
            "diffusion.told=true: not with conditioning=classifier, by which the discriminator is told "
            "nothing; allowed: with conditioning=projection, or told=false"
        )


class Objectives(Strict):
    """The losses and penalties of the two networks. Each family has its paper's defaults.

    A penalty with `every` 1 belongs to the discriminator's turn; with more it is a turn of its own, so
    many steps apart and so many times as strong (lazy regularisation: Karras et al. 2020a, appendix B).
    """

    loss: Loss = "non_saturating"
    """Adversarial loss of both networks."""
    r1_gamma: NonNegative = 0.0
    """Weight of the R1 penalty, gamma / 2 * |grad D|^2 on reals (Mescheder et al. 2018, eq. 9)."""
    r1_every: Whole = 1
    """Steps between R1 penalties."""
    r2_gamma: NonNegative = 0.0
    """Weight of the R2 penalty, the same on fakes (Mescheder et al. 2018, eq. 10)."""
    r2_every: Whole = 1
    """Steps between R2 penalties."""
    penalty_method: Literal["exact", "finite_difference"] = "exact"
    """How R1 and R2 find |grad D|^2. exact: by the gradient of D, in full float32, whose own gradient takes
    second derivatives. finite_difference: by the change of D between images and the same images slightly
    moved in random directions (approximated R1: Lin et al. 2025); the mean over directions is the same."""
    penalty_step: Positive = 0.01
    """With penalty_method=finite_difference: standard deviation of the move, of images in [-1, 1]."""
    penalty_directions: Whole = 1
    """With penalty_method=finite_difference: directions that are averaged, each with a pass of D of its own.
    One scatters around the mean by 1.4 times its value, which the batch averages out."""
    gp_weight: NonNegative = 0.0
    """Weight lambda of the gradient penalty between reals and fakes (Gulrajani et al. 2017, eq. 3)."""
    gp_target: Positive = 1.0
    """Norm that the gradient penalty pulls towards."""
    gp_every: Whole = 1
    """Steps between gradient penalties."""
    drift_weight: NonNegative = 0.0
    """Weight of the squared logits of reals (Karras et al. 2018, appendix A.1)."""
    lecam_weight: NonNegative = 0.0
    """Weight of the LeCam regularisation (Tseng et al. 2021, eq. 4). The authors' code: 0.3 for BigGAN on
    CIFAR, with a hinge loss; 3e-7 for StyleGAN2 on 1,000 faces."""
    lecam_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay of the running means of logits that LeCam pulls towards."""
    lecam_relu: bool = False
    """Compute LeCam as the authors' code does, unlike the paper: of the two differences only what is above 0
    counts, by which a real's logit exceeds the mean of fakes and the mean of reals exceeds a fake's logit."""
    lecam_from_images: Count = 0
    """Until so many images have been seen, LeCam adds nothing and its means are those of the latest step. The
    authors' code for BigGAN begins after 1,000 steps."""
    lecam_debiased: bool = False
    """Divide LeCam's means, which begin at 0, by the weight of what they have taken in so far (Kingma and Ba
    2015, section 3), as the authors' code for StyleGAN2 does."""
    weight_clip: Positive | None = None
    """Clamp the discriminator's weights to at most this value after each update (Arjovsky et al. 2017,
    algorithm 1); null: no clamping."""
    orthogonal_weight: NonNegative = 0.0
    """Weight beta of the generator's orthogonal regularisation (Brock et al. 2019, eq. 3)."""
    conditioning: Conditioning = "projection"
    """How the discriminator takes labels. projection: by the product of its features with the label's
    embedding (Miyato and Koyama 2018, eq. 3). embedding: the label's embedding joins its features (Mirza and
    Osindero 2014). classifier: not at all; an auxiliary classifier predicts them (Odena et al. 2017)."""
    classifier_weight: NonNegative = 1.0
    """With conditioning=classifier: weight of its cross entropy (Odena et al. 2017, eq. 3)."""
    discriminator_repeats: Whole = 1
    """How many turns the discriminator has in each step, each on fresh images."""


class Optimisation(Strict):
    """Adam (Kingma and Ba 2015) and the averaged generator."""

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
    ema_half_life_images: Count = 10_000
    """Half-life of the averaged generator, in images; 0 keeps no average."""
    ema_ramp: Positive | None = None
    """Early in training the half-life is at most this fraction of the images seen. null: no ramp, as always
    with `start.transfer`."""
    ema_from_images: Count = 0
    """Until so many images have been seen, the average is a copy of the generator."""

    def cautions(self) -> tuple[Caution, ...]:
        """Returns what a run with these settings is warned of when it starts."""
        return ()

    def transferred(self) -> Self:
        """For a run that goes on with another's average (`start.transfer`): nothing overwrites it, and what
        adapts moves faster."""
        faster = {name: value.transferred() for name, value in self if isinstance(value, Adaptive)}
        return self.model_copy(update={"ema_ramp": None, "ema_from_images": 0, **faster})


class CodecConfig(Strict):
    """What the networks work on: the pixels of images, or the latents of an autoencoder."""

    kind: Literal["pixels", "kl"] = "pixels"
    """pixels: the images themselves. kl: latents of an autoencoder that has learnt them as normal
    distributions (Rombach et al. 2022, section 3.1), which `fixtures.codec.file` names. `hrgan encode`
    computes them beforehand; for other shards they are computed at each step, which takes longer."""
    factor: Whole | None = None
    """With kind=kl: how many pixels a latent stands for, along each side. null: as the shards of latents say;
    for others it must be given."""
    channels: Whole | None = None
    """With kind=kl: the channels of the latents. null: likewise."""
    scale: Positive | None = None
    """With kind=kl: what latents are multiplied by, so that their standard deviation is about 1. null: what
    the shards of latents say, for others what the autoencoder says itself."""

    @model_validator(mode="after")
    def _of_latents_alone(self) -> Self:
        given = [key for key in ("factor", "channels", "scale") if getattr(self, key) is not None]
        if self.kind == "pixels" and given:
            raise ValueError(f"{given[0]} is only used with kind=kl; allowed: null")
        return self


class Coded(Strict):
    """The schema of a family that may play in the latents of a codec."""

    codec: CodecConfig = CodecConfig()
    """What the networks work on, in the place of pixels."""

    @property
    def in_pixels(self) -> bool:
        """Whether the networks work on pixels, which are bounded and have colours; latents have neither."""
        return self.codec.kind == "pixels"

    def _check_kinds(self, key: str, kinds: tuple[str, ...]) -> None:
        """Raises ValueError for an augmentation of latents by what they do not have."""
        if "color" in kinds and not self.in_pixels:
            raise ValueError(f"{key}: color: latents have no colours; allowed with codec.kind=kl: the others")
