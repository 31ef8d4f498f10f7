"""The schema of the GAN that draws scene graphs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.families.shared import NonNegative, Objectives, Optimisation, Positive, Whole
from pipeline.config.units import Count


class SG2ImConfig(Objectives, Optimisation):
    """sg2im (Johnson et al. 2018): images of scene graphs, by way of a layout of their objects. Samples need
    the fields `objects`, `boxes` and `triples`; classes are not used."""

    name: Literal["sg2im"] = "sg2im"

    objects: Whole = 171
    """How many kinds of objects there are: the data's codes are 1 to this number, and 0 fills places without
    an object. The paper's COCO-Stuff has 171."""
    relations: Whole = 6
    """How many kinds of relations there are, likewise; the paper's COCO-Stuff has 6."""
    embedding_dim: Whole = 128
    """Numbers of each object and relation."""
    graph_width: Whole = 512
    """Width of the layers within a graph convolution, and within the one that says boxes."""
    graph_layers: Whole = 5
    """Graph convolutions."""
    mask_side: Annotated[int, Field(ge=0, le=64)] = 16
    """Side of the mask of each object, a power of two: what it fills of its box. 0: it fills the box."""
    refinement_channels: Annotated[tuple[Whole, ...], Field(min_length=1)] = (1024, 512, 256, 128, 64)
    """Channels of the modules that paint the layout, each at twice the resolution of the one before; the last
    is at that of the images."""
    noise_channels: Whole = 32
    """Channels of noise beside the layout."""
    batch_norm_group: Annotated[int, Field(ge=2)] = 16
    """Images whose batch statistics are taken together in the generator; must divide the number of images
    that a process computes at once."""
    sampled_boxes: Literal["predicted", "given"] = "predicted"
    """Which boxes images are drawn with after training. predicted: the model's own. given: the data's, with
    which it trains in either case."""

    discriminator_channels: Whole = 64
    """Channels of the first layer of both discriminators, doubled with each further layer."""
    discriminator_layers: Whole = 3
    """Layers of each that halve the resolution."""
    crop_side: Whole = 32
    """Side in pixels that each object is resized to for the discriminator of objects."""

    distance_weight: NonNegative = 2.2
    """Weight of the mean distance |fake - real|, for images in [-1, 1]: 1 for images divided by the
    deviations of ImageNet's colours, as the authors have them."""
    box_weight: NonNegative = 10.0
    """Weight of the mean square of the boxes' errors, in shares of the image's sides."""
    adversarial_weight: NonNegative = 0.01
    """Weight of the adversarial losses in the generator's turn."""
    class_weight: NonNegative = 0.1
    """Weight, in the generator's turn, of the cross entropy by which the discriminator of objects tells what
    each is; 1 in its own."""

    generator_rate: Positive = 1e-4
    """Adam's learning rate for the generator."""
    discriminator_rate: Positive = 1e-4
    """Adam's learning rate for both discriminators."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam's first decay."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam's second decay."""
    ema_half_life_images: Count = 0
    """Half-life of the averaged generator, in images; the paper keeps none."""

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.mask_side & (self.mask_side - 1) or self.mask_side == 1:
            raise ValueError(f"mask_side={self.mask_side}: no power of two; allowed: 0, 2, 4, 8, 16, 32, 64")
        if self.orthogonal_weight:
            raise ValueError(
                f"orthogonal_weight={self.orthogonal_weight:g}: this family has no such term; allowed: 0"
            )
        return self
