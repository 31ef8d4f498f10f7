"""The formats of KL autoencoders for `hrgan import`: diffusers' names and those of the authors' code."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from pipeline.config.families import AutoencoderConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.autoencoder.names import COMPVIS, DIFFUSERS, Names
from pipeline.models.autoencoder.shape import Shape, shape_of
from pipeline.models.foreign import Format, Imported, Parts

_SIDE = 256  # pixels: that of published autoencoders' training images; they take any
_PREFIX = "first_stage_model."  # of the autoencoder in the checkpoint of a whole latent diffusion model
_LOSSES = "loss."  # of the discriminator and LPIPS, which the authors' code keeps beside the autoencoder
_SCALES = {(8, 4): 0.18215}
"""Factors that published autoencoders are used with, by how many times smaller their latents are, and by
channels: those of Stable Diffusion 1 and 2."""


def _tensors(parts: Parts) -> dict[str, Tensor]:
    """Returns the autoencoder's tensors by the names of its project."""
    tensors = parts[""].tensors
    inside = {name.removeprefix(_PREFIX): tensors[name] for name in tensors if name.startswith(_PREFIX)}
    return {k: v.float() for k, v in (inside or tensors).items() if not k.startswith(_LOSSES)}


def _fits(names: Names, parts: Parts) -> bool:
    return names.fit(name.removeprefix(_PREFIX) for name in parts[""].tensors)


def _convert(names: Names, parts: Parts, discriminator: bool) -> Imported:
    if discriminator:
        raise UserError("--discriminator: an autoencoder's file has none of ours; leave the option out")
    ours = names.ours(_tensors(parts))
    shape = shape_of(ours)
    config = _config(shape)
    scale = _SCALES.get((shape.factor, shape.latent_channels))
    notes: dict[str, Any] = {"scale": "unknown: --scale tells it" if scale is None else scale}
    if scale is not None:
        ours["scale"] = torch.tensor(scale)
    return Imported(config, ImageSpec(_SIDE, _SIDE, shape.image_channels), ours, notes=notes)


def _config(shape: Shape) -> AutoencoderConfig:
    base, *_ = shape.widths
    if any(width % base for width in shape.widths):
        raise UserError(
            f"an autoencoder with levels of {list(shape.widths)} channels; allowed: multiples of the first"
        )
    fields = {
        "name": "autoencoder",
        "latent_channels": shape.latent_channels,
        "base_channels": base,
        "channel_multipliers": tuple(width // base for width in shape.widths),
        "blocks": shape.blocks,
        "norm_groups": shape.groups,
        "attention": shape.attention,
        "distribution": shape.distributions,
    }
    try:
        config: AutoencoderConfig = TypeAdapter(AutoencoderConfig).validate_python(fields)
    except ValidationError as error:
        raise UserError(f"its autoencoder does not fit: {str(error).splitlines()[0]}") from error
    return config


FORMATS = tuple(
    Format(f"the weights of an {names.title}", partial(_fits, names), partial(_convert, names))
    for names in (DIFFUSERS, COMPVIS)
)
