"""Models of an image's numbers one after another, as a family of a single player."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.families import PixelCNNConfig
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
from pipeline.models.pixelcnn.game import LikelihoodGame
from pipeline.models.pixelcnn.masked import LAYERS, MaskedNetwork
from pipeline.models.pixelcnn.sampler import PixelSampler
from pipeline.models.pixelcnn.shifted import ShiftedNetwork
from pipeline.models.pixelcnn.turn import likelihood_turn
from pipeline.models.precision import refuse_low_precision
from pipeline.models.schedule import ConstantSchedule, with_rates


@dataclass(frozen=True)
class FallingSchedule(ConstantSchedule):
    """One stage, in which each step multiplies the learning rates by `decay`."""

    decay: float = 1.0

    def at(self, images_seen: int) -> Stage:
        stage = super().at(images_seen)
        factor = self.decay ** (images_seen // self.images_a_step)
        return with_rates(stage, factor)


class PixelCNNFamily:
    """Implements contracts.Family for images of any size and channels. The discriminator is empty."""

    codec = PIXELS

    def __init__(
        self,
        config: PixelCNNConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        """Raises UserError for a precision that the family cannot use."""
        refuse_low_precision(config, low_precision)
        self.config, self.spec = config, spec
        self.fixtures: Mapping[str, nn.Module] = {}
        self.needs = Needs()
        self.memory: nn.Module = nn.Module()
        rule = AdamRule(config.adam_beta1, config.adam_beta2, config.adam_eps)
        self.optimizers: Mapping[Net, Rule] = {"generator": rule, "discriminator": rule}
        self.schedule: Schedule = FallingSchedule(
            config,
            spec.height,
            batch_size,
            batch_size,
            {"generator": 1.0, "discriminator": 1.0},
            config.rate_decay,
        )
        self.phases: tuple[Phase, ...] = (Phase("generator", "generator", likelihood_turn),)  # type: ignore[arg-type]

    def networks(self) -> Networks:
        config, spec = self.config, self.spec
        sizes = spec.channels, config.channels, config.blocks
        if config.network == "shifted":
            network = ShiftedNetwork(*sizes, config.scales, config.mixtures, spec.classes)
            return Networks(network, nn.Module())
        layer = LAYERS[config.network]
        return Networks(MaskedNetwork(*sizes, config.head_channels, spec.classes, layer), nn.Module())

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        size = self.spec.height, self.spec.width
        return LikelihoodGame(networks, stage, randomness, size=size, dropout=self.config.dropout)

    def check_batch(self, images: int) -> None:
        """Any batch will do."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """There is nothing to remember."""

    def figures(self) -> Mapping[str, Tensor]:
        return {}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        return PixelSampler(generator, (self.spec.height, self.spec.width))
