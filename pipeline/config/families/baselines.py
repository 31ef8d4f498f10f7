"""Schemas of the two baselines: DCGAN and a GAN of fully connected layers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import Coded, FewImages, Objectives, Optimisation, Positive, Whole
from pipeline.config.units import Count


class DCGANConfig(FewImages, Objectives, Optimisation, Coded):
    """DCGAN (Radford et al. 2016), at any power of two from 8 pixels."""

    name: Literal["dcgan"] = "dcgan"

    z_dim: Whole = 100
    """Size of the latent z."""
    generator_channels: Whole = 128
    """Channels of the generator's last hidden layer, doubled with each halving of the pixels (figure 1)."""
    discriminator_channels: Whole = 64
    """Channels of the discriminator's first layer, doubled likewise."""
    channels_max: Whole = 1024
    """Most channels of any layer."""
    label_dim: Whole = 32
    """Size of a label's embedding."""
    generator_rate: Positive = 0.0002
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 0.0002
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator, in images; the paper keeps none."""


class MLPConfig(FewImages, Objectives, Optimisation, Coded):
    """Fully connected networks (Goodfellow et al. 2014), for images of any shape and for points; leaky ReLU
    in the place of the paper's maxout and dropout."""

    name: Literal["mlp"] = "mlp"

    z_dim: Whole = 64
    """Size of the latent z."""
    width: Whole = 512
    """Units of a hidden layer."""
    layers: Whole = 3
    """Hidden layers of each network."""
    output: Literal["tanh", "linear"] = "tanh"
    """Last activation of the generator. tanh: for images in [-1, 1]. linear: for points of any size."""
    label_dim: Whole = 32
    """Size of a label's embedding."""
    generator_rate: Positive = 0.0002
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 0.0002
    """Adam's learning rate for the discriminator."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator, in images; 0 keeps no average."""

    @model_validator(mode="after")
    def _latents_are_not_bounded(self) -> Self:
        if self.output == "tanh" and not self.in_pixels:
            raise ValueError("output=tanh: latents are not bounded; allowed with codec.kind=kl: linear")
        return self
