"""GRAF as a value: networks, schedule, phases, game, sampler (Schwarz et al. 2020)."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.config.families import GRAFConfig
from pipeline.contracts import Batch, Game, ImageSpec, Networks, Randomness, RMSPropRule, Stage
from pipeline.errors import UserError
from pipeline.models.graf.discriminator import Discriminator
from pipeline.models.graf.game import GRAFGame
from pipeline.models.graf.generator import Generator
from pipeline.models.graf.sampler import GRAFSampler
from pipeline.models.graf.schedule import GRAFSchedule
from pipeline.models.phases import lazy_factors
from pipeline.models.plain import PlainFamily


class GRAF(PlainFamily):
    """Implements contracts.Family for square images of any channels. The discriminator sees patches, in its
    own turn first, as in the authors' code."""

    config: GRAFConfig

    def __init__(
        self,
        config: GRAFConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        """Raises UserError for images or a precision that the family cannot use."""
        _check(config, spec)
        factors = lazy_factors(config)
        schedule = GRAFSchedule(
            config, spec.height, batch_size, batch_size * config.discriminator_repeats, factors
        )
        super().__init__(
            config,
            spec,
            batch_size=batch_size,
            low_precision=low_precision,
            schedule=schedule,
            discriminator_first=True,
        )
        if config.optimizer == "rmsprop":
            self.optimizers = {
                net: RMSPropRule(config.rmsprop_smoothing**factor) for net, factor in factors.items()
            }

    def networks(self) -> Networks:
        return Networks(Generator(self.config, self.spec), Discriminator(self.config, self.spec))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return GRAFGame(networks, stage, randomness, self.hiding(stage))

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> GRAFSampler:
        assert isinstance(generator, Generator)
        return GRAFSampler(generator)

    def _size(self, stage: Stage) -> tuple[int, int]:
        return self.config.patch, self.config.patch


def _check(config: GRAFConfig, spec: ImageSpec) -> None:
    if spec.height != spec.width:
        raise UserError(
            f"{config.name} needs square images, not {spec.width}x{spec.height}; prepare the data with "
            "--resolution"
        )
    if config.patch > spec.height:
        raise UserError(
            f"family.patch: {config.patch} rays a side are more than the {spec.height} pixels of the images; "
            f"allowed: up to {spec.height}, a power of two"
        )
