"""Schemas of families that make images of images."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import Loss, NonNegative, Objectives, Optimisation, Positive, Whole
from pipeline.config.units import Count, PositiveCount


class Decaying(Optimisation):
    """Learning rates that fall linearly to 0 at the end of training."""

    decay_from_images: Count | None = None
    """Images seen from which on both learning rates fall. null: they stay."""
    decay_images: PositiveCount = 1_000_000
    """Over so many images they fall to 0."""


class CycleGANConfig(Decaying):
    """CycleGAN (Zhu et al. 2017): images of a first set, `data.path`, become such as those of a second,
    `data.second`, and the other way round, without pairs. Labels are ignored."""

    name: Literal["cyclegan"] = "cyclegan"

    generator_channels: Whole = 64
    """Channels next to the image."""
    halvings: Annotated[int, Field(ge=1, le=8)] = 2
    """Halvings before the blocks."""
    blocks: Whole = 9
    """Residual blocks; 6 for images of 128 pixels in the paper, 9 from 256."""
    discriminator_channels: Whole = 64
    """Channels of each discriminator's first layer, doubled with each further layer up to eight times."""
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 3
    """Layers that halve the resolution; 3 means that each logit sees 70 pixels a side."""
    cycle_weight: NonNegative = 5.0
    """Weight lambda of the mean distance between images and what comes back of them (Zhu et al. 2017,
    eq. 2): half of the paper's 10, since its least squares lack the half of Mao et al. 2017, eq. 9."""
    identity_weight: NonNegative = 0.5
    """Weight, by that of the cycle, of the mean distance between images and their translation into the set
    that they are of (section 5.2); 0 in many of the paper's tasks."""
    pool_images: Count = 50
    """Half of the fakes that the discriminators see are of generators up to so many images old; the paper
    stores 50 of their images. 0: none."""
    loss: Literal["least_squares", "non_saturating", "minimax", "hinge", "wasserstein"] = "least_squares"
    """Adversarial loss of all networks."""
    generator_rate: Positive = 2e-4
    """Adam's learning rate for both generators."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for both discriminators."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generators, in images; the paper keeps none."""


class Translating(Objectives, Decaying):
    """What all have in common: the terms that pull each image towards the one that was to be made."""

    distance_weight: NonNegative = 100.0
    """Weight of the mean distance |fake - real|, for images in [-1, 1] (Isola et al. 2017, eq. 3)."""
    perceptual_weight: NonNegative = 0.0
    """Weight of the distance of VGG19's features. Above 0 it needs `fixtures.perceptual.file`, which
    `python -m tools.perceptual_weights OUT --vgg19 FILE --vgg19-digest SHA256` writes."""
    adversarial_weight: NonNegative = 1.0
    """Weight of the adversarial loss in the generator's turn."""
    adversarial_from_images: Count = 0
    """Until so many images have been seen, there is no adversarial loss, and the discriminator does not
    train."""
    discriminator_channels: Whole = 64
    """Channels of the discriminator's first layer, doubled with each further layer up to eight times."""

    generator_rate: Positive = 2e-4
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 2e-4
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator, in images; 0 keeps no average."""

    @model_validator(mode="after")
    def _has_no_such_terms(self) -> Self:
        if self.orthogonal_weight:
            raise ValueError(
                f"orthogonal_weight={self.orthogonal_weight:g}: this family has no such term; allowed: 0"
            )
        return self


class SuperResolutionConfig(Translating):
    """Super-resolution: images of several times the resolution of what they are made of, which is the data's
    own images made smaller. SRResNet (Ledig et al. 2017) or RRDB (Wang et al. 2018b, ESRGAN), as BasicSR
    builds them. Labels are ignored."""

    name: Literal["superres"] = "superres"

    scale: Literal[2, 4] = 4
    """How many times larger each side becomes."""
    degradation: Literal["bicubic", "real"] = "bicubic"
    """How images are made smaller. bicubic: by that filter alone, as results are compared. real: blurred,
    resized, noisy and compressed, twice, at random (Wang et al. 2021, Real-ESRGAN, section 3), for
    photographs as they are found."""
    crop: PositiveCount | None = None
    """Side of the part of each image that is trained on, at a random place; null: the whole image."""
    generator: Literal["srresnet", "rrdb"] = "rrdb"
    """srresnet: residual blocks without normalisation. rrdb: dense blocks in residual ones."""
    generator_channels: Whole = 64
    """Channels of its blocks."""
    blocks: Whole = 23
    """Its blocks; 16 in the paper's SRResNet, 23 in its RRDB."""
    growth: Whole = 32
    """With generator=rrdb: channels that each convolution of a dense block adds."""
    discriminator: Literal["unet", "patches"] = "unet"
    """unet: with spectral normalisation, a logit for each pixel (Wang et al. 2021, section 3.3). patches: of
    Isola et al. 2017."""
    sharpened: bool = False
    """Whether images are pulled towards sharpened ones (unsharp masking: Wang et al. 2021, section 3.4); the
    discriminator's reals stay as they are."""
    distance_weight: NonNegative = 0.5
    """Weight of the mean distance |fake - real|, for images in [-1, 1]: 1 for those in [0, 1], as the authors
    have them."""
    adversarial_weight: NonNegative = 0.1
    """Weight of the adversarial loss in the generator's turn."""
    generator_rate: Positive = 1e-4
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Adam's second decay."""
    loss: Loss = "non_saturating"
    """Adversarial loss of both networks."""


class InpaintingConfig(Translating):
    """Inpainting: holes in images are filled, by the context encoder (Pathak et al. 2016) or LaMa (Suvorov et
    al. 2022). Labels are ignored."""

    name: Literal["inpainting"] = "inpainting"

    holes: Literal["centre", "boxes", "strokes", "mixed", "field"] = "mixed"
    """Where holes are in training. centre: half of each side in the middle. boxes: up to four. strokes: up to
    five broken lines of a thick brush. mixed: strokes or boxes (Suvorov et al. 2022, section 2.3). field: as
    the field `given` of the samples says, 0 for what is known."""
    given: str = "holes"
    """With holes=field: its name."""
    generator: Literal["fourier", "encoder"] = "fourier"
    """fourier: LaMa's residual network of fast Fourier convolutions, for images of any size. encoder: the
    context encoder, which knows one size and fills the centre."""
    generator_channels: Whole = 64
    """Channels next to the image."""
    halvings: Annotated[int, Field(ge=1, le=8)] = 3
    """With generator=fourier: halvings before the blocks."""
    blocks: Whole = 18
    """With generator=fourier: residual blocks."""
    global_share: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """With generator=fourier: share of the blocks' channels that see the whole image."""
    bottleneck: Whole = 4000
    """With generator=encoder: numbers that the surroundings of a hole become."""
    batch_norm_group: Whole = 4
    """Images in each batch statistic; must divide the number of images that a process computes at once."""
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 4
    """Layers that halve the resolution."""
    distance_weight: NonNegative = 5.0
    """Weight of the mean distance |fake - real| outside of holes, over all numbers (Suvorov et al. 2022,
    eq. 9): 10 for images in [0, 1], as the authors have them."""
    hole_weight: NonNegative = 0.0
    """Weight of the mean squared distance within holes (Pathak et al. 2016, eq. 1)."""
    rim: Count = 0
    """Pixels within the border of a hole that count ten times in it, as in the code of Pathak et al. 2016."""
    adversarial_weight: NonNegative = 10.0
    """Weight of the adversarial loss in the generator's turn."""
    feature_weight: NonNegative = 100.0
    """Weight of the distance between the discriminator's features of fake and real (Wang et al. 2018,
    eq. 4)."""
    generator_rate: Positive = 1e-3
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay."""
    r1_gamma: NonNegative = 0.002
    """Weight of the R1 penalty, gamma / 2 * |grad D|^2 on reals; LaMa's 0.001 is without the half."""
    loss: Literal["non_saturating"] = "non_saturating"
    """Adversarial loss of both networks. Parts of an image without a hole count as real for the
    discriminator, in fakes too, and not at all for the generator (Suvorov et al. 2022, eq. 4 and 5)."""

    @model_validator(mode="after")
    def _encoder_fills_the_centre(self) -> Self:
        if self.generator == "encoder" and self.holes != "centre":
            raise ValueError(f"holes={self.holes}: generator=encoder fills the centre; allowed: centre")
        return self


class Pix2PixConfig(Translating):
    """pix2pix (Isola et al. 2017), and with `generator=resnet` or `enhancer` and several scales pix2pixHD
    (Wang et al. 2018): images from pairs of images, or from label maps. Labels are ignored."""

    name: Literal["pix2pix"] = "pix2pix"

    given: str = "input"
    """The field of the samples that images are made of, as `hrgan prepare --pairs` writes it."""
    codes: Annotated[int, Field(ge=0, le=256)] = 0
    """0: that field is an image. Otherwise it is a label map whose values are below this number; each becomes
    a channel of its own, and higher values count as the last."""
    edges: bool = False
    """With codes: one more channel, 1 where neighbours differ (Wang et al. 2018, section 3.3)."""
    generator: Literal["unet", "resnet", "enhancer"] = "unet"
    """unet: of Isola et al. 2017, whose noise is dropout. resnet: of Johnson et al. 2016, as the global
    generator of Wang et al. 2018. enhancer: that one at half of the resolution in a local enhancer."""
    generator_channels: Whole = 64
    """Channels next to the image."""
    levels: Annotated[int, Field(ge=2, le=12)] = 8
    """With generator=unet: halvings; 8 reach a single pixel from 256."""
    halvings: Annotated[int, Field(ge=1, le=8)] = 4
    """With generator=resnet or enhancer: halvings before the blocks, in an enhancer of the inner network."""
    blocks: Whole = 9
    """With generator=resnet or enhancer: residual blocks."""
    enhancer_blocks: Whole = 3
    """With generator=enhancer: residual blocks of the enhancer itself."""
    inner_from_images: Count = 0
    """With generator=enhancer: until so many images have been seen, the inner network keeps the weights that
    it began with, as it does after training by itself (`start.transfer`)."""
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 3
    """Layers that halve the resolution; 3 means that each logit sees 70 pixels a side."""
    discriminator_scales: Annotated[int, Field(ge=1, le=4)] = 1
    """Discriminators, each of images of half of the resolution of the one before."""
    discriminator_padding: Annotated[int, Field(ge=1, le=2)] = 1
    """Pixels of zeros around what its convolutions take: 1 in pix2pix, 2 in pix2pixHD."""
    affine: bool = True
    """Whether the discriminator's normalisations learn a gain and a bias, as those of pix2pix do."""
    feature_weight: NonNegative = 0.0
    """Weight of the distance between the discriminator's features of fake and real (Wang et al. 2018,
    eq. 4)."""
    loss: Loss = "non_saturating"
    """Adversarial loss of both networks."""

    @model_validator(mode="after")
    def _maps_have_edges(self) -> Self:
        if self.edges and not self.codes:
            raise ValueError("edges=true: only label maps have them; allowed with codes: its number of codes")
        return self
