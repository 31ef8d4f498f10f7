"""R3GAN as a value: networks, schedule, phases, game, sampler (Huang et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.config.families import R3GANConfig
from pipeline.contracts import (
    AdamRule,
    Game,
    ImageSpec,
    Net,
    Networks,
    Phase,
    Randomness,
    Sampler,
    Schedule,
    Stage,
)
from pipeline.models.phases import (
    LossMemory,
    adam_rules,
    discriminator_phases,
    generator_phase,
    lazy_factors,
)
from pipeline.models.plain import PlainGame, PlainSampler
from pipeline.models.r3gan.augmentation import ScheduledAugment
from pipeline.models.r3gan.discriminator import Discriminator
from pipeline.models.r3gan.generator import Generator
from pipeline.models.r3gan.schedule import BurnInSchedule
from pipeline.models.r3gan.shape import shape_of


class R3GAN:
    """Implements contracts.Family.

    batch_size: global. low_precision: type of the highest `config.low_precision_levels` stages in turns
    that take no second derivatives; the discriminator's turn has R1 and R2 in it and judges in float32,
    where the paper's code judges in bfloat16. Errors: UserError for images that the stages do not end at.
    """

    def __init__(
        self,
        config: R3GANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.config, self.spec = config, spec
        self.shape = shape_of(config, spec, low_precision)
        self._losses = LossMemory(config)
        self._augment = ScheduledAugment(config, spec)
        # The augmentation's constants stand here so as to move to the device; nothing of it is saved.
        self.memory: nn.Module = nn.ModuleDict({"losses": self._losses, "augment": self._augment})
        self.optimizers: Mapping[Net, AdamRule] = adam_rules(config, config)
        images_a_step = batch_size * config.discriminator_repeats
        self.schedule: Schedule = BurnInSchedule(
            config, spec.height, batch_size, images_a_step, lazy_factors(config)
        )
        self.phases: tuple[Phase, ...] = (
            *discriminator_phases(config, self._losses, classes=spec.classes),
            generator_phase(config, classes=spec.classes),
        )

    def networks(self) -> Networks:
        return Networks(Generator(self.shape), Discriminator(self.shape))

    def game(self, networks: Networks, stage: Stage, randomness: Randomness) -> Game:
        if not self._augment.on:
            return PlainGame(networks, stage, randomness)

        def augment(images: Tensor, numbers: Randomness) -> Tensor:
            augmented: Tensor = self._augment(images, numbers, stage.weights["augment_p"])
            return augmented

        return PlainGame(networks, stage, randomness, augment)

    def check_batch(self, images: int) -> None:
        """Any batch will do."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self._losses.observe(stats)

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        """The paper has no truncation; psi scales z, as in every family without a trick of its own."""
        return PlainSampler(generator)
