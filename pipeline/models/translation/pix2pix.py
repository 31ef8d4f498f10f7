"""pix2pix (Isola et al. 2017) and pix2pixHD (Wang et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from pipeline.config.families import Pix2PixConfig
from pipeline.contracts import ImageSpec, Networks, Stage
from pipeline.errors import UserError
from pipeline.models.layers import least_side
from pipeline.models.translation.discriminators import Patches
from pipeline.models.translation.family import TranslationFamily
from pipeline.models.translation.given import field_given
from pipeline.models.translation.resnet import Enhancer, ResNet
from pipeline.models.translation.terms import FeatureMatching
from pipeline.models.translation.unet import UNet
from pipeline.perceptual import features_from

_INNER = "inner"  # the weight of gradients of an enhancer's inner network
# Weights of VGG19's layers (Wang et al. 2018, section 3.5, and the authors' code).
_TAPS = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}


class Pix2Pix(TranslationFamily):
    """Implements contracts.Family for images whose sides the generator's halvings divide."""

    config: Pix2PixConfig

    def __init__(self, config: Pix2PixConfig, spec: ImageSpec, **settings: Any) -> None:
        """Raises UserError for data that the family cannot use."""
        giving = field_given(spec, config.given, config.codes, edges=config.edges, key="family.given")
        _check(config, spec)
        matching = [FeatureMatching(config.feature_weight)] if config.feature_weight else []
        perceptual = partial(features_from, taps=_TAPS, normalised=False)
        super().__init__(
            config,
            spec,
            giving,
            extras=matching,
            compares=bool(matching),
            perceptual=perceptual,
            begins={_INNER: (config.inner_from_images, 1.0)} if config.generator == "enhancer" else None,
            **settings,
        )

    @property
    def heads(self) -> int:  # type: ignore[override]
        return self.config.discriminator_scales

    def networks(self) -> Networks:
        config, taken, made = self.config, self.giving.channels, self.spec.channels
        discriminator = Patches(
            taken + made,
            config.discriminator_channels,
            config.discriminator_layers,
            config.discriminator_scales,
            affine=config.affine,
            padding=config.discriminator_padding,
            telling=config.feature_weight > 0,
        )
        return Networks(self._generator(taken, made), discriminator)

    def _generator(self, taken: int, made: int) -> nn.Module:
        config, width = self.config, self.config.generator_channels
        if config.generator == "unet":
            return UNet(taken, made, width, config.levels)
        if config.generator == "resnet":
            return ResNet(taken, made, width, config.halvings, config.blocks)
        return Enhancer(taken, made, width, config.halvings, config.blocks, config.enhancer_blocks)

    def how(self, stage: Stage) -> Mapping[str, Any]:
        if self.config.generator != "enhancer":
            return {}
        return {"inner": stage.weights.get(_INNER, 0.0)}


def _check(config: Pix2PixConfig, spec: ImageSpec) -> None:
    size = f"{spec.height}x{spec.width} (height x width)"
    halvings = {"unet": config.levels, "resnet": config.halvings, "enhancer": config.halvings + 1}
    key = "levels" if config.generator == "unet" else "halvings"
    divisor = 1 << halvings[config.generator]
    if spec.height % divisor or spec.width % divisor:
        raise UserError(
            f"family.{key}={getattr(config, key)}: images of {size} cannot be halved so often with "
            f"generator={config.generator}; allowed: sides that are multiples of {divisor}"
        )
    least = least_side(config.discriminator_layers) << (config.discriminator_scales - 1)
    if min(spec.height, spec.width) < least:
        raise UserError(
            f"family.discriminator_layers={config.discriminator_layers} at "
            f"{config.discriminator_scales} scales: images of {size} are too small; allowed: {least} pixels "
            "a side and more"
        )
