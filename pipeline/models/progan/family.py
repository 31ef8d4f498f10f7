"""ProGAN as a value: networks, growth, phases, game, sampler (Karras et al. 2018)."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.config.families import ProGANConfig
from pipeline.contracts import Batch, Game, ImageSpec, Networks, Randomness, Stage
from pipeline.models.groups import check_groups
from pipeline.models.phases import lazy_factors
from pipeline.models.plain import PlainFamily
from pipeline.models.progan.discriminator import Discriminator
from pipeline.models.progan.game import ProGANGame
from pipeline.models.progan.generator import Generator
from pipeline.models.progan.sampler import ProGANSampler
from pipeline.models.progan.schedule import GrowthSchedule
from pipeline.models.progan.shape import shape_of


class ProGAN(PlainFamily):
    """Implements contracts.Family.

    batch_size: images per step over all ranks, at levels for which the config names no other. low_precision:
    the type of the highest `config.low_precision_levels` resolutions in passes that are not exact; None for
    float32. Raises UserError for images that the family cannot make.
    """

    config: ProGANConfig

    def __init__(
        self,
        config: ProGANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.shape = shape_of(config, spec, low_precision)
        resolutions = [r for r in self.shape.resolutions if r >= config.first_resolution]
        schedule = GrowthSchedule(config, resolutions, batch_size, lazy_factors(config))
        super().__init__(config, spec, batch_size=batch_size, schedule=schedule, discriminator_first=True)

    def networks(self) -> Networks:
        return Networks(Generator(self.shape), Discriminator(self.shape))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return ProGANGame(networks, stage, randomness, self.hiding(stage))

    def check_batch(self, images: int) -> None:
        """Requires that the images which a rank holds at once form whole minibatch-stddev groups."""
        check_groups("family.minibatch_stddev_group", self.config.minibatch_stddev_group, images)

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> ProGANSampler:
        assert isinstance(generator, Generator)
        if stage is None:
            return ProGANSampler(generator, generator.resolution, 1.0)
        return ProGANSampler(generator, stage.resolution, stage.fade)
