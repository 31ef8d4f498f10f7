"""What a family's networks work on, as its configuration says: pixels, or an autoencoder's latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipeline.config.families import CodecConfig, Coded
from pipeline.contracts import (
    CODEC,
    IN_PIXELS,
    MOMENTS,
    PIXELS,
    Batch,
    Codec,
    Field,
    ImageSpec,
    Needs,
    Randomness,
)
from pipeline.errors import UserError
from pipeline.models.autoencoder import Autoencoder, autoencoder_from

_AT_ONCE = 1 << 14
"""How many latents, over all images, go through the autoencoder at once: 16 images of 256 pixels, or one of
1024, whose attention alone takes 1 GiB where it is written out."""


class ThroughCodec:
    """A family that plays in pixels or, if `config` is `Coded` and says so, in latents.

    `config` and `spec` must be there before `codec` or `needs` is asked for.
    """

    config: Any
    spec: ImageSpec
    fixtures: Mapping[str, nn.Module]

    @cached_property
    def codec(self) -> Codec:
        if not isinstance(self.config, Coded) or self.config.in_pixels:
            return PIXELS
        return KLCodec(self.config.codec, self.spec, lambda: self.fixtures[CODEC])

    @cached_property
    def needs(self) -> Needs:
        return self.codec.needs if isinstance(self.codec, KLCodec) else Needs()


class KLCodec:
    """Implements contracts.Codec. Latents are drawn from each image's own normal distribution, scale * (mean
    + std * noise), as in Rombach et al. 2022, section 3.3.

    spec: of the images; if it has the field MOMENTS, means and deviations are read from there, and else are
    computed from the images. network: gives the autoencoder, once it is there. Raises UserError for settings
    that do not fit the images.
    """

    def __init__(self, config: CodecConfig, spec: ImageSpec, network: Callable[[], nn.Module]) -> None:
        stored = next((field for field in spec.fields if field.name == MOMENTS), None)
        self.scale = config.scale
        self.factor, self.channels = _sizes(config, spec, stored)
        self._images, self._stored, self._network = spec.channels, stored is not None, network
        self.latents(spec)

    @property
    def needs(self) -> Needs:
        return Needs((MOMENTS,) if self._stored else (), {CODEC: self._fitting}, (CODEC,))

    def latents(self, pixels: ImageSpec) -> ImageSpec:
        height, width, factor = pixels.height, pixels.width, self.factor
        if height % factor or width % factor:
            raise UserError(
                f"family.codec.factor: {factor} does not divide the {height}x{width} (height x width) of the "
                "images; allowed: images of other sizes, or a codec of another factor"
            )
        return replace(pixels, height=height // factor, width=width // factor, channels=self.channels)

    @torch.no_grad()
    def encode(self, reals: Batch, randomness: Randomness) -> Batch:
        extra = dict(reals.extra)
        stored = extra.pop(MOMENTS, None)  # images that are judged later have none
        if stored is None:
            mean, std = moments(self._autoencoder, reals.images)
        else:
            mean, std = stored.float().chunk(2, dim=1)
        latents = (mean + std * randomness.normal(*mean.shape[1:])) * self._scale
        return replace(reals, images=latents, extra={**extra, IN_PIXELS: reals.images})

    def decode(self, latents: Tensor) -> Tensor:
        parts = torch.split(latents / self._scale, _images_at_once(latents))
        return torch.cat([self._autoencoder.decode(part) for part in parts])

    @property
    def _autoencoder(self) -> Autoencoder:
        return cast(Autoencoder, self._network())

    @property
    def _scale(self) -> float | Tensor:
        return self._autoencoder.scale if self.scale is None else self.scale

    def _fitting(self, tensors: Mapping[str, Tensor]) -> Autoencoder:
        """Returns the autoencoder with these weights. Raises UserError if its latents are of other sizes."""
        network = autoencoder_from(tensors)
        shape = network.shape
        pairs = (
            ("factor", shape.factor, self.factor),
            ("channels of latents", shape.latent_channels, self.channels),
            ("channels of images", shape.image_channels, self._images),
        )
        for what, has, must in pairs:
            if has != must:
                raise UserError(f"fixtures.{CODEC}: its autoencoder has the {what} {has}; allowed: {must}")
        return network


def moments(network: Autoencoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns means and standard deviations of the images' latents, without scale, each [N, C', H', W']."""
    parts = [
        network.encode(part) for part in torch.split(images, _images_at_once(images, network.shape.factor))
    ]
    return torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts])


def _images_at_once(tensor: Tensor, factor: int = 1) -> int:
    """Returns how many of these images or latents [N, C, H, W] the autoencoder may take at once."""
    return max(_AT_ONCE * factor**2 // (tensor.shape[2] * tensor.shape[3]), 1)


def _sizes(config: CodecConfig, spec: ImageSpec, stored: Field | None) -> tuple[int, int]:
    """Returns factor and channels of the latents, as the stored ones have them or as configured."""
    asked = {"factor": config.factor, "channels": config.channels}
    found = asked if stored is None else _stored_sizes(stored, spec)
    for key, value in found.items():
        if value is None:
            raise UserError(
                f"family.codec.{key}: not set, and the samples have no latents that would say; allowed: the "
                "codec's own, or shards that `hrgan encode` has made"
            )
        if asked[key] not in (None, value):
            raise UserError(
                f"family.codec.{key}={asked[key]}: the latents of data.path have {value}; allowed: {value}"
            )
    factor, channels = found.values()
    assert factor is not None
    assert channels is not None
    return factor, channels


def _stored_sizes(stored: Field, spec: ImageSpec) -> dict[str, int | None]:
    shape = stored.shape
    if stored.kind == "array" and len(shape) == 3 and shape[0] % 2 == 0:
        factor = spec.height // shape[1]
        if (spec.height, spec.width) == (factor * shape[1], factor * shape[2]):
            return {"factor": factor, "channels": shape[0] // 2}
    raise UserError(
        f"data.path: its field {MOMENTS}, {stored.kind} of {list(shape)}, holds no latents of images of "
        f"{spec.height}x{spec.width} (height x width)"
    )
