"""The autoencoder as a family: encoder and decoder play against a discriminator of patches, or alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipeline.config.families import AutoencoderConfig
from pipeline.contracts import (
    PIXELS,
    AdamRule,
    Batch,
    Game,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Phase,
    Randomness,
    Rule,
    Sampler,
    Schedule,
    Stage,
)
from pipeline.errors import UserError
from pipeline.losses import ADVERSARIAL, LIKELIHOODS, Balance, DiscriminatorTurn
from pipeline.models.autoencoder.autoencoder import Autoencoder
from pipeline.models.autoencoder.discriminator import PatchDiscriminator
from pipeline.models.autoencoder.game import AutoencoderGame
from pipeline.models.autoencoder.sampler import AutoencoderSampler, VariationalSampler
from pipeline.models.autoencoder.shape import Shape
from pipeline.models.autoencoder.turn import ADVERSARIAL_WEIGHT, AutoencoderTurn
from pipeline.models.groups import check_groups
from pipeline.models.layers import follow_moments, least_side
from pipeline.models.precision import refuse_low_precision
from pipeline.models.schedule import ConstantSchedule
from pipeline.perceptual import LEAST_SIDE, perceptual_from

_PERCEPTUAL = "perceptual"
_MOMENTUM = 0.1  # of the latents' running variance, as of batch statistics


@dataclass(frozen=True)
class AutoencoderSchedule(ConstantSchedule):
    """One stage. After `begins` images it has an adversarial loss of this weight; None for none at all."""

    begins: int | None = None
    weight: float = 1.0

    def at(self, images_seen: int) -> Stage:
        stage = super().at(images_seen)
        if self.begins is None or images_seen < self.begins:
            return stage
        return replace(stage, weights={ADVERSARIAL_WEIGHT: self.weight})


class AutoencoderFamily:
    """Implements contracts.Family for images of any channels, whose sides are multiples of the factor by
    which latents are smaller. Labels are ignored: `spec` has no classes."""

    codec = PIXELS

    def __init__(
        self,
        config: AutoencoderConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        """Raises UserError for images or a precision that the family cannot use."""
        self.config, self.spec = config, replace(spec, classes=0)
        self.plays = config.discriminator != "none"
        self.shape = shape_for(config, spec)
        _check(config, spec, self.shape, low_precision)
        self.fixtures: Mapping[str, nn.Module] = {}
        self.needs = Needs(fixtures={_PERCEPTUAL: perceptual_from} if config.perceptual_weight else {})
        self.balance = Balance()
        self.memory: nn.Module = self.balance
        rule = AdamRule(config.adam_beta1, config.adam_beta2, config.adam_eps)
        self.optimizers: Mapping[Net, Rule] = {"generator": rule, "discriminator": rule}
        begins = config.adversarial_from_images
        self.schedule: Schedule = AutoencoderSchedule(
            config,
            spec.height,
            batch_size,
            batch_size,
            {"generator": 1.0, "discriminator": 1.0},
            begins if self.plays else None,
            config.adversarial_weight,
        )
        turn = AutoencoderTurn(config, self.balance, lambda: self.fixtures[_PERCEPTUAL])
        judging = DiscriminatorTurn(ADVERSARIAL[config.loss])
        phases = [Phase("generator", "generator", turn)]
        if self.plays:
            phases.append(Phase("discriminator", "discriminator", judging, begins=begins))
        self.phases: tuple[Phase, ...] = tuple(phases)

    def networks(self) -> Networks:
        config = self.config
        autoencoder = Autoencoder(self.shape, learns_scale=config.learned_scale)
        if not self.plays:
            return Networks(autoencoder, nn.Module())
        discriminator = PatchDiscriminator(
            self.spec.channels,
            config.discriminator_channels,
            config.discriminator_layers,
            config.batch_norm_group,
        )
        return Networks(autoencoder, discriminator)

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return AutoencoderGame(
            networks,
            stage,
            randomness,
            group=self.config.batch_norm_group if self.plays else 0,
            reals=reals,
            two_valued=self.shape.bounded,
        )

    def check_batch(self, images: int) -> None:
        if self.plays:
            check_groups("family.batch_norm_group", self.config.batch_norm_group, images)

    @torch.no_grad()
    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """Sets the balance of losses, and moves the latents' scale towards that of this step."""
        self.balance.observe(stats)
        follow_moments(networks, stats)
        autoencoder: Autoencoder = networks.generator  # type: ignore[assignment]
        variance = stats["latents/square"] - stats["latents/mean"].square()
        moved = autoencoder.scale.pow(-2).lerp(variance.to(autoencoder.scale.dtype), _MOMENTUM).rsqrt()
        autoencoder.scale.copy_(torch.where(torch.isfinite(moved), moved, autoencoder.scale))

    def figures(self) -> Mapping[str, Tensor]:
        return {"state/adversarial_balance": self.balance.weight} if self.plays else {}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        factor = self.shape.factor
        latents = (self.shape.latent_channels, self.spec.height // factor, self.spec.width // factor)
        standard = self.config.distribution and self.config.kl_weight >= 1
        how = {"scaled": not standard, "two_valued": self.shape.bounded}
        if not self.config.distribution:
            return AutoencoderSampler(generator, latents, **how)
        return VariationalSampler(generator, latents, LIKELIHOODS[self.config.likelihood], **how)


def shape_for(config: AutoencoderConfig, spec: ImageSpec) -> Shape:
    """Returns the shape of the autoencoder that a config asks for."""
    return Shape(
        spec.channels,
        config.latent_channels,
        tuple(config.base_channels * multiplier for multiplier in config.channel_multipliers),
        config.blocks,
        attention=config.attention,
        distributions=config.distribution,
        bounded=config.likelihood == "bernoulli",
        groups=config.norm_groups,
    )


def _check(
    config: AutoencoderConfig, spec: ImageSpec, shape: Shape, low_precision: torch.dtype | None
) -> None:
    refuse_low_precision(config, low_precision)
    size = f"{spec.height}x{spec.width} (height x width)"
    if spec.height % shape.factor or spec.width % shape.factor:
        raise UserError(
            f"{config.name} cannot encode images of {size} with {len(shape.widths)} levels "
            f"(family.channel_multipliers); allowed: multiples of {shape.factor}"
        )
    least = {
        "family.perceptual_weight": LEAST_SIDE if config.perceptual_weight else 1,
        "family.discriminator_layers": least_side(config.discriminator_layers)
        if config.discriminator != "none"
        else 1,
    }
    for key, side in least.items():
        if min(spec.height, spec.width) < side:
            raise UserError(
                f"{key}={getattr(config, key.split('.')[1])}: images of {size} are too small for it; "
                f"allowed: {side} pixels a side and more"
            )
