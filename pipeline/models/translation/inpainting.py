"""Inpainting: the context encoder (Pathak et al. 2016) and LaMa (Suvorov et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pipeline.config.families import InpaintingConfig
from pipeline.contracts import Augmentation, Game, ImageSpec, Networks, Terms, Verdict, per_image
from pipeline.errors import UserError
from pipeline.losses import DiscriminatorTurn, Extra, Play
from pipeline.models.augment import Chain
from pipeline.models.layers import least_side
from pipeline.models.translation.discriminators import Patches
from pipeline.models.translation.encoder import ContextEncoder
from pipeline.models.translation.family import TranslationFamily
from pipeline.models.translation.fourier import FourierNet
from pipeline.models.translation.game import TranslationGame
from pipeline.models.translation.given import field_given
from pipeline.models.translation.holes import WithHoles
from pipeline.models.translation.terms import FeatureMatching, TranslatorTurn
from pipeline.perceptual import features_from

_TAPS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
_RIM_WEIGHT = 10.0


class Inpainting(TranslationFamily):
    """Implements contracts.Family for images whose sides the networks can halve."""

    config: InpaintingConfig

    def __init__(self, config: InpaintingConfig, spec: ImageSpec, **settings: Any) -> None:
        """Raises UserError for data that the family cannot use."""
        if config.holes == "field":
            field_given(spec, config.given, 256, edges=False, key="family.given")
        _check(config, spec)
        self.in_centre = config.generator == "encoder"
        matching = [FeatureMatching(config.feature_weight)] if config.feature_weight else []
        pulls: list[Extra] = []
        if config.distance_weight:
            pulls.append(KnownDistance(config.distance_weight))
        if config.hole_weight:
            pulls.append(HoleDistance(config.hole_weight, config.rim))
        super().__init__(
            config,
            spec,
            WithHoles(spec.channels, config.holes, config.given),
            told=False,
            extras=matching,
            compares=bool(matching),
            perceptual=partial(features_from, taps=_TAPS, normalised=True),
            pulls=pulls,
            turns=(TranslatorTurn, DiscriminatorTurn) if self.in_centre else (HoleTurn, JudgingHoles),
            **settings,
        )

    @property
    def group(self) -> int:  # type: ignore[override]
        return self.config.batch_norm_group

    @property
    def plays(self) -> type[TranslationGame]:  # type: ignore[override]
        return CentreGame if self.in_centre else TranslationGame

    def networks(self) -> Networks:
        config, channels, width = self.config, self.spec.channels, self.config.generator_channels
        taken, group = self.giving.channels, config.batch_norm_group
        if self.in_centre:
            generator: ContextEncoder | FourierNet = ContextEncoder(
                taken, channels, width, self.spec.height, config.bottleneck, group
            )
        else:
            generator = FourierNet(
                taken, channels, width, config.halvings, config.blocks, config.global_share, group
            )
        return Networks(
            generator,
            Patches(
                channels,
                config.discriminator_channels,
                config.discriminator_layers,
                telling=config.feature_weight > 0,
            ),
        )


class CentreGame(TranslationGame):
    """The discriminator sees the centre of images alone, half of each side."""

    def draw_augmentation(self, count: int) -> Augmentation:
        return Chain((super().draw_augmentation(count), Centre()))


@dataclass(frozen=True)
class Centre:
    """Implements contracts.Augmentation."""

    def __call__(self, images: Tensor) -> Tensor:
        top, left = images.shape[2] // 4, images.shape[3] // 4
        return images[:, :, top : images.shape[2] - top, left : images.shape[3] - left]

    def moved(self, images: Tensor) -> Tensor:
        return self(images)


class HoleTurn(TranslatorTurn):
    """The generator's turn in which logits of parts without a hole do not count (Suvorov et al. 2022,
    eq. 5)."""

    def compared(self, game: Game, real: Verdict, fake: Verdict) -> Tensor:
        heads = zip(real.heads, fake.heads, holes_of_heads(game, fake), strict=True)
        return per_image([self.loss.generator(r, f) * holes for r, f, holes in heads])


class JudgingHoles(DiscriminatorTurn):
    """The discriminator's turn in which parts of fakes without a hole are to be judged real (Suvorov et al.
    2022, eq. 4): with the logistic loss, their logits change sign."""

    def compared(self, game: Game, real: Verdict, fake: Verdict) -> Tensor:
        heads = zip(real.heads, fake.heads, holes_of_heads(game, fake), strict=True)
        return per_image([self.loss.discriminator(r, f * (2 * holes - 1)) for r, f, holes in heads])


def holes_of_heads(game: Game, verdict: Verdict) -> list[Tensor]:
    """Returns for each head [N, L] of the verdict, whether there is a hole in what a logit stands for: 1 or
    0."""
    discriminator: Any = game.networks.discriminator
    holes = _holes(game)
    size = tuple(holes.shape[2:])
    grids = [network.grid(*size) for network in discriminator.scales]
    return [F.adaptive_max_pool2d(holes, grid).flatten(1) for grid in grids]


@dataclass(frozen=True)
class KnownDistance:
    """weight * mean |fake - real| where there is no hole, over all numbers (Suvorov et al. 2022, eq. 9)."""

    weight: float

    def __call__(self, play: Play) -> Terms:
        apart = (play.fakes.images - play.reals.images).abs() * (1 - _holes(play.game))
        distance = apart.flatten(1).mean(dim=1)
        return Terms(self.weight * distance, {"loss/known": distance.detach().mean()})


@dataclass(frozen=True)
class HoleDistance:
    """weight * the mean of (fake - real)^2 over the numbers in holes (Pathak et al. 2016, eq. 1), those
    within `rim` pixels of a border ten times (the authors' code)."""

    weight: float
    rim: int

    def __call__(self, play: Play) -> Terms:
        holes = _holes(play.game)
        counts = holes
        if self.rim:
            side = 2 * self.rim + 1
            inner = 1 - F.max_pool2d(1 - holes, side, stride=1, padding=self.rim)
            counts = holes + (_RIM_WEIGHT - 1) * (holes - inner).clamp(min=0)
        apart = (play.fakes.images - play.reals.images).square() * counts
        inside = holes.flatten(1).sum(dim=1).clamp(min=1) * apart.shape[1]
        distance = apart.flatten(1).sum(dim=1) / inside
        return Terms(self.weight * distance, {"loss/hole": distance.detach().mean()})


def _holes(game: Any) -> Tensor:
    inputs: Tensor = game.inputs
    return inputs[:, -1:]


def _check(config: InpaintingConfig, spec: ImageSpec) -> None:
    size = f"{spec.height}x{spec.width} (height x width)"
    if config.generator == "encoder":
        side = spec.height
        if spec.height != spec.width or side < 16 or side & (side - 1):
            raise UserError(
                f"family.generator=encoder: images of {size}; allowed: squares of a power of two, 16 pixels "
                "and more"
            )
    elif spec.height % (1 << config.halvings) or spec.width % (1 << config.halvings):
        raise UserError(
            f"family.halvings={config.halvings}: images of {size} cannot be halved so often; allowed: sides "
            f"that are multiples of {1 << config.halvings}"
        )
    shown = 2 if config.generator == "encoder" else 1
    least = least_side(config.discriminator_layers) * shown
    if min(spec.height, spec.width) < max(least, 2 << config.halvings if shown == 1 else 16):
        raise UserError(
            f"family.discriminator_layers={config.discriminator_layers}: images of {size} are too small for "
            f"it; allowed: {least} pixels a side and more"
        )
