"""BEGAN as a value: networks, schedule, phases, game, memory, sampler (Berthelot et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipeline.config.families import BEGANConfig
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
from pipeline.losses import ADVERSARIAL, GeneratorTurn
from pipeline.models.began.equilibrium import DiscriminatorTurn, Equilibrium
from pipeline.models.began.game import BEGANGame, BEGANSampler, carry_of, with_carry
from pipeline.models.began.networks import Discriminator, Generator, Shape
from pipeline.models.precision import refuse_low_precision
from pipeline.models.schedule import ConstantSchedule, halved
from pipeline.models.sides import allowed_sides, sides_of

_NETS: tuple[Net, Net] = ("generator", "discriminator")


@dataclass(frozen=True)
class HalvedSchedule(ConstantSchedule):
    """One stage, whose learning rates are halved every `halve_images` images down to `rate_floor`, and
    whose residuals vanish. The paper halves rates when its measure of convergence stalls; a stage is a
    function of the images seen alone, as in public ports."""

    config: BEGANConfig

    def at(self, images_seen: int) -> Stage:
        config = self.config
        stage = halved(super().at(images_seen), images_seen, config.halve_images, config.rate_floor)
        return with_carry(stage, images_seen, config.residual_images)


class BEGAN:
    """Implements contracts.Family for images of any channels whose sides `models.sides` allows. Labels are
    ignored: `spec` has no classes.

    The generator's turn comes first, so that both errors which move k are those of the same discriminator.
    """

    codec = PIXELS
    needs = Needs()

    def __init__(
        self,
        config: BEGANConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        """Raises UserError for images or a precision that the family cannot use."""
        refuse_low_precision(config, low_precision)
        self.config, self.spec = config, replace(spec, classes=0)
        self.shape = shape_of(config, spec)
        self.equilibrium = Equilibrium(config.gamma, config.balance_rate)
        self.memory: nn.Module = self.equilibrium
        self.fixtures: Mapping[str, nn.Module] = {}
        rule = AdamRule(config.adam_beta1, config.adam_beta2, config.adam_eps)
        self.optimizers: Mapping[Net, Rule] = dict.fromkeys(_NETS, rule)
        factors = dict.fromkeys(_NETS, 1.0)
        self.schedule: Schedule = HalvedSchedule(config, spec.height, batch_size, batch_size, factors)
        self.phases: tuple[Phase, ...] = (
            # Its logits are -L, so the generator minimises L(G(z)) (section 3.4).
            Phase("generator", "generator", GeneratorTurn(ADVERSARIAL["wasserstein"])),
            Phase("discriminator", "discriminator", DiscriminatorTurn(self.equilibrium)),
        )

    def networks(self) -> Networks:
        return Networks(Generator(self.shape), Discriminator(self.shape))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return BEGANGame(networks, stage, randomness, alone=True)

    def check_batch(self, images: int) -> None:
        """Any number of images will do."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        self.equilibrium.observe(stats)
        generator: Generator = networks.generator  # type: ignore[assignment]
        generator.measure.copy_(self.equilibrium.measure)

    def figures(self) -> Mapping[str, Tensor]:
        return {"state/balance": self.equilibrium.k, "state/convergence": self.equilibrium.measure}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        assert isinstance(generator, Generator)
        return BEGANSampler(generator, carry_of(stage))


def shape_of(config: BEGANConfig, spec: ImageSpec) -> Shape:
    """Returns the shape of the networks. Raises UserError for images that they cannot make."""
    sides = sides_of(spec.height, spec.width, config.start)
    if not sides.begins:
        raise UserError(
            f"{config.name} cannot make images of {spec.height}x{spec.width} (height x width) with "
            f"family.start={config.start}; allowed: {allowed_sides(config.start)}"
        )
    return Shape(
        sides,
        spec.channels,
        config.channels,
        config.layers,
        config.skips,
        config.z_dim,
        config.embedding_dim,
    )
