"""The schema of the GAN that draws what a text says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.families.shared import (
    FewImages,
    NonNegative,
    Objectives,
    Optimisation,
    Positive,
    Probability,
    Whole,
)
from pipeline.config.units import Count, PositiveCount


class TextGANConfig(FewImages, Objectives, Optimisation):
    """GAN-INT-CLS (Reed et al. 2016a): a DCGAN whose two networks are told a text beside the image, at any
    size from 8 pixels. Samples need the field `text`, or `vector` with encoder=vector; classes are not
    used."""

    name: Literal["textgan"] = "textgan"

    encoder: Literal["joint", "hashed", "vector"] = "joint"
    """What makes numbers of a text. joint: a network that learns, while the GAN does, to tell an image's own
    text from others'. hashed: counts of runs of letters, which learn nothing. vector: none; samples have
    numbers of another program in the field `vector`."""
    text_dim: Whole = 1024
    """How many numbers a text becomes; with encoder=vector, as many as the field has."""
    encoder_channels: Whole = 128
    """With encoder=joint: channels of the layers that read texts, and most of those that see images."""
    ngrams: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(min_length=1)] = (3, 5)
    """With encoder=hashed: how long the runs of letters are that are counted."""
    matching_weight: NonNegative = 1.0
    """With encoder=joint: weight of the loss by which images and texts find each other."""
    group: Annotated[int, Field(ge=2)] = 16
    """Images whose batch statistics are taken together, and among which wrong texts are found; must divide
    the number of images that a process computes at once."""
    wrong_weight: Probability = 0.5
    """Share of real images with a wrong text among what the discriminator has to call false; the others are
    fakes (algorithm 1, line 9)."""
    interpolation_weight: NonNegative = 1.0
    """Weight of the generator's loss on texts half-way between two (eq. 5)."""

    z_dim: Whole = 100
    """Size of the latent z."""
    told_dim: Whole = 128
    """Numbers that each network makes of a text's."""
    generator_channels: Whole = 128
    """Channels of the generator's last hidden layer, doubled with each halving of the pixels."""
    discriminator_channels: Whole = 64
    """Channels of the discriminator's first layer, doubled likewise."""
    channels_max: Whole = 1024
    """Most channels of any layer."""

    conditioning: Literal["embedding"] = "embedding"
    """How the discriminator takes a text: it joins the features of the image."""
    generator_rate: Positive = 0.0002
    """Adam's learning rate for the generator and the texts' encoder."""
    discriminator_rate: Positive = 0.0002
    """Adam's learning rate for the discriminator."""
    halve_images: PositiveCount | None = None
    """Both learning rates are halved each time so many images have been seen; null: never."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator, in images; the paper keeps none."""
