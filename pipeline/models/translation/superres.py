"""Super-resolution (Ledig et al. 2017; Wang et al. 2018b and 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config.families import SuperResolutionConfig
from pipeline.contracts import Batch, ImageSpec, Networks, Randomness, Translation
from pipeline.errors import UserError
from pipeline.models.layers import least_side
from pipeline.models.translation.degradations import degraded
from pipeline.models.translation.discriminators import Patches, PixelNet
from pipeline.models.translation.enlarging import RRDB, SRResNet
from pipeline.models.translation.family import TranslationFamily
from pipeline.models.translation.given import in_channels
from pipeline.models.translation.parts import parts_of
from pipeline.perceptual import features_from

# Before ReLU (Wang et al. 2021, section 3.4, and the authors' settings).
_TAPS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
_SHARPENED_SIGMA, _SHARPENED_RADIUS, _SHARPENED_WEIGHT, _SHARPENED_FROM = 8.0, 25, 0.5, 10 / 255


@dataclass(frozen=True)
class Smaller:
    """Implements Giving: the images themselves, made smaller. real: by random degradations, otherwise by the
    bicubic filter alone, rounded to 256 values."""

    channels: int
    scale: int
    real: bool
    fields: tuple[str, ...] = ()

    def inputs(self, reals: Batch, randomness: Randomness) -> Tensor:
        if self.real:
            return degraded(reals.images, self.scale, randomness)
        size = [side // self.scale for side in reals.images.shape[2:]]
        small = F.interpolate(reals.images, size=size, mode="bicubic", antialias=True)
        return ((small.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1

    def taken(self, given: Tensor, holes: Tensor | None = None) -> Tensor:
        return given

    @property
    def translation(self) -> Translation:
        return Translation(self.channels, scale=self.scale)

    def finished(self, images: Tensor, inputs: Tensor) -> Tensor:
        return images

    def shown(self, inputs: Tensor, size: tuple[int, int], channels: int) -> Tensor:
        return in_channels(F.interpolate(inputs, size=size, mode="nearest"), channels)


class SuperResolution(TranslationFamily):
    """Implements contracts.Family for images whose sides are multiples of what the networks need."""

    config: SuperResolutionConfig

    def __init__(self, config: SuperResolutionConfig, spec: ImageSpec, **settings: Any) -> None:
        """Raises UserError for images that the family cannot use."""
        _check(config, spec)
        super().__init__(
            config,
            spec,
            Smaller(spec.channels, config.scale, config.degradation == "real"),
            told=False,
            perceptual=partial(features_from, taps=_TAPS, normalised=True),
            target=sharpened if config.sharpened else None,
            **settings,
        )

    @property
    def judges_alone(self) -> bool:  # type: ignore[override]
        return self.config.discriminator == "patches"  # the other one has spectral normalisation

    def networks(self) -> Networks:
        config, channels = self.config, self.spec.channels
        width, blocks, scale = config.generator_channels, config.blocks, config.scale
        if config.generator == "srresnet":
            generator: SRResNet | RRDB = SRResNet(channels, width, blocks, scale)
        else:
            generator = RRDB(channels, width, blocks, config.growth, scale)
        if config.discriminator == "unet":
            return Networks(generator, PixelNet(channels, config.discriminator_channels))
        return Networks(generator, Patches(channels, config.discriminator_channels, 3))

    def shown(self, reals: Batch, randomness: Randomness) -> Batch:
        if self.config.crop is None:
            return reals
        return replace(reals, images=parts_of(reals.images, self.config.crop, randomness))


def sharpened(images: Tensor) -> Tensor:
    """Returns images [N, C, H, W] in [-1, 1], sharpened by an unsharp mask where they differ from their
    blurred selves (Wang et al. 2021, section 3.4; the authors' settings)."""
    place = torch.arange(-_SHARPENED_RADIUS, _SHARPENED_RADIUS + 1, device=images.device).float()
    kernel = (-0.5 * (place / _SHARPENED_SIGMA) ** 2).exp()
    kernel = (kernel / kernel.sum()).to(images.dtype)
    x = (images + 1) / 2
    residual = x - _blurred(x, kernel)
    mask = (residual.abs() > _SHARPENED_FROM).to(x.dtype)
    soft = _blurred(mask, kernel)
    sharp = (x + _SHARPENED_WEIGHT * residual).clamp(0, 1)
    return (soft * sharp + (1 - soft) * x) * 2 - 1


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    n, c, h, w = x.shape
    border = len(kernel) // 2
    rows, columns = (_mirrored(side, border, x.device) for side in (h, w))
    flat = x.reshape(n * c, 1, h, w)[:, :, rows][..., columns]
    flat = F.conv2d(F.conv2d(flat, kernel[None, None, :, None]), kernel[None, None, None])
    return flat.view(n, c, h, w)


def _mirrored(side: int, border: int, device: torch.device) -> Tensor:
    """The places that a line of `side` pixels with mirrored borders is made of; a border may be wider than
    the line."""
    period = max(2 * (side - 1), 1)
    place = torch.arange(-border, side + border, device=device).remainder(period)
    return torch.minimum(place, period - place)


def _check(config: SuperResolutionConfig, spec: ImageSpec) -> None:
    height, width = (config.crop, config.crop) if config.crop else (spec.height, spec.width)
    size = f"{height}x{width} (height x width)"
    if config.crop and config.crop > min(spec.height, spec.width):
        raise UserError(
            f"family.crop={config.crop}: images of {spec.height}x{spec.width} (height x width) have no such "
            f"part; allowed: up to {min(spec.height, spec.width)}"
        )
    if config.degradation == "real" and spec.channels not in (1, 3):
        raise UserError(
            f"family.degradation=real: images of {spec.channels} channels cannot be compressed; allowed: 1, 3"
        )
    divisor = max(config.scale, PixelNet.divisor if config.discriminator == "unet" else 4)
    if height % divisor or width % divisor:
        raise UserError(
            f"superres cannot learn from images of {size}; allowed: sides that are multiples of {divisor}"
        )
    least = least_side(3) if config.discriminator == "patches" else PixelNet.divisor
    if min(height, width) < least:
        raise UserError(
            f"family.discriminator={config.discriminator}: images of {size} are too small for it; allowed: "
            f"{least} pixels a side and more"
        )
