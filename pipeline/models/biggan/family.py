"""BigGAN as a value: networks, schedule, phases, game, sampler (Brock et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from pipeline.config.families import BigGANConfig
from pipeline.contracts import AdamRule, Game, ImageSpec, Net, Networks, Randomness, Schedule, Stage
from pipeline.models.biggan.discriminator import Discriminator
from pipeline.models.biggan.generator import Generator
from pipeline.models.biggan.sampler import BigGANSampler
from pipeline.models.biggan.shape import shape_of
from pipeline.models.layers import Spectral
from pipeline.models.phases import (
    LossMemory,
    adam_rules,
    discriminator_phases,
    generator_phase,
    lazy_factors,
)
from pipeline.models.plain import PlainGame
from pipeline.models.schedule import ConstantSchedule

INITIALISATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "orthogonal": nn.init.orthogonal_,
    "normal": lambda weight: nn.init.normal_(weight, std=0.02),
    "xavier": nn.init.xavier_uniform_,
}


class BigGAN:
    """Implements contracts.Family, for BigGAN and BigGAN-deep.

    batch_size: global. low_precision: type of the residual blocks in phases that are not exact; first and
    last layers are float32. Errors: UserError for images it cannot make, or sizes that do not fit them.
    """

    def __init__(
        self,
        config: BigGANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.config, self.spec = config, spec
        self.shape = shape_of(config, spec, low_precision)
        self.losses = LossMemory(config)
        self.memory: nn.Module = self.losses
        self.optimizers: Mapping[Net, AdamRule] = adam_rules(config, config)
        images_a_step = batch_size * config.discriminator_repeats
        self.schedule: Schedule = ConstantSchedule(
            config, spec.height, batch_size, images_a_step, lazy_factors(config)
        )
        self.phases = (
            generator_phase(config, classes=spec.classes, orthogonal=orthogonal_weights),
            *discriminator_phases(config, self.losses, classes=spec.classes),
        )

    def networks(self) -> Networks:
        """In training mode: every pass moves the spectral normalisation's vectors, frozen or not."""
        networks = Networks(Generator(self.shape), Discriminator(self.shape))
        for network in (networks.generator, networks.discriminator):
            initialise(network, self.config.initialisation)
        return networks

    def game(self, networks: Networks, stage: Stage, randomness: Randomness) -> Game:
        return PlainGame(networks, stage, randomness)

    def check_batch(self, images: int) -> None:
        """Any batch will do; statistics are those of a micro-batch over all ranks."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self.losses.observe(stats)

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> BigGANSampler:
        assert isinstance(generator, Generator)
        return BigGANSampler(generator, self.config.standing_batches, self.config.standing_batch_size)


def initialise(network: nn.Module, how: str) -> None:
    """Weights of convolutions, linear layers and embeddings drawn anew; biases stay 0."""
    for module in network.modules():
        if isinstance(module, (Spectral, nn.Embedding)):
            INITIALISATIONS[how](module.weight)


def orthogonal_weights(generator: nn.Module) -> Iterator[Tensor]:
    """All weights of convolutions and linear layers: what the orthogonal regularisation is of."""
    return (module.weight for module in generator.modules() if isinstance(module, Spectral))
