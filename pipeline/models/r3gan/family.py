"""R3GAN as a value: networks, schedule, phases, game, sampler (Huang et al. 2024)."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from pipeline.config.families import R3GANConfig
from pipeline.contracts import ImageSpec, Networks, Stage
from pipeline.models.phases import lazy_factors
from pipeline.models.plain import Augmenting, PlainFamily
from pipeline.models.r3gan.augmentation import ScheduledAugment
from pipeline.models.r3gan.discriminator import Discriminator
from pipeline.models.r3gan.generator import Generator
from pipeline.models.r3gan.schedule import BurnInSchedule
from pipeline.models.r3gan.shape import shape_of


class R3GAN(PlainFamily):
    """Implements contracts.Family.

    batch_size: images per step over all ranks. low_precision: the type of the highest
    `config.low_precision_levels` stages in turns that take no second derivatives. With exact penalties the
    discriminator's turn, which R1 and R2 are part of, judges in float32; the paper's code judges in bfloat16.
    The generator's turn compares its fakes with reals of its own (`Phase.own_reals`). The paper has no
    truncation; here psi scales z. Raises UserError for images whose resolution is not that of the last stage.
    """

    config: R3GANConfig
    judges_alone = True

    def __init__(
        self,
        config: R3GANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.config, self.spec = config, spec
        seen = self.codec.latents(spec)
        self.shape = shape_of(config, seen, low_precision)
        images_a_step = batch_size * config.discriminator_repeats
        schedule = BurnInSchedule(config, spec.height, batch_size, images_a_step, lazy_factors(config))
        super().__init__(config, spec, batch_size=batch_size, schedule=schedule, discriminator_first=True)
        self._augment = ScheduledAugment(config, seen)
        # The augmentation is a part of the memory so that its constants move to the device; it saves nothing.
        self.memory = nn.ModuleDict({"losses": self.losses, "augment": self._augment})

    def networks(self) -> Networks:
        return Networks(Generator(self.shape), Discriminator(self.shape))

    def augmenting(self, stage: Stage) -> Augmenting | None:
        if not self._augment.on:
            return super().augmenting(stage)
        return partial(self._augment.draw, p=stage.weights["augment_p"])
