"""GAT as a value: networks, schedule, phases, game, sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from pipeline.config.families import GATConfig
from pipeline.contracts import (
    IN_PIXELS,
    NETS,
    Batch,
    Game,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Randomness,
    Stage,
)
from pipeline.dinov2 import DinoV2
from pipeline.errors import UserError
from pipeline.losses import Extra
from pipeline.models.augment import DiffAugment
from pipeline.models.gat.alignment import TEACHER, Alignment, AlignmentTerm, Consistency
from pipeline.models.gat.discriminator import Discriminator
from pipeline.models.gat.game import GATGame
from pipeline.models.gat.generator import Generator
from pipeline.models.gat.sampler import GATSampler
from pipeline.models.gat.shape import shape_of
from pipeline.models.gat.teacher import teacher_of
from pipeline.models.phases import lazy_factors
from pipeline.models.plain import PlainFamily
from pipeline.models.schedule import ConstantSchedule


class GAT(PlainFamily):
    """Implements contracts.Family.

    batch_size: images per step over all ranks. low_precision: the type of the blocks in passes that are not
    exact; what follows the last block stays float32, because differences of verdicts are divided by a small
    step. The discriminator's turn comes first, and the generator's compares its fakes with the same reals, as
    in the authors' code. Raises UserError for images that patches do not divide.
    """

    config: GATConfig
    judges_alone = True

    def __init__(
        self,
        config: GATConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.config, self.spec = config, spec
        self.shape = shape_of(config, self.codec.latents(spec), low_precision)
        self.heads = len(self.shape.grids)
        if config.alignment_weight and spec.channels not in (1, 3):
            raise UserError(
                f"family.alignment_weight={config.alignment_weight}: the teacher sees images of 1 or 3 "
                f"channels, not {spec.channels}; allowed: 0"
            )
        widths = {"generator": config.width, "discriminator": self.shape.discriminator.width}
        factors: dict[Net, float] = {
            net: factor * (config.rate_width or widths[net]) / widths[net]
            for net, factor in lazy_factors(config).items()
        }
        images = batch_size * config.discriminator_repeats
        schedule = ConstantSchedule(config, spec.height, batch_size, images, factors)
        super().__init__(config, spec, batch_size=batch_size, schedule=schedule, extras=self._extras())
        generator, *discriminator = self.phases
        self.phases = (*discriminator, generator)
        self.optimizers = {
            net: replace(rule, clip_norm=config.clip_norm) for net, rule in self.optimizers.items()
        }
        colors = 3 if config.in_pixels and spec.channels == 4 else None
        self._augment = DiffAugment(config.diffaugment, config.color_p, config.flip_p, colors)

    @cached_property
    def needs(self) -> Needs:
        needs = super().needs
        if not self.config.alignment_weight:
            return needs
        return replace(needs, fixtures={**needs.fixtures, TEACHER: self._teacher})

    def networks(self) -> Networks:
        return Networks(Generator(self.shape), Discriminator(self.shape))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        alignment = None
        if self.config.alignment_weight and reals is not None:
            pixels = reals.extra.get(IN_PIXELS, reals.images)
            translation = self.config.alignment_translation
            alignment = Alignment(pixels, self.fixtures[TEACHER], translation, self.shape)
        return GATGame(networks, stage, randomness, self.shape, self._augment, alignment)

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> GATSampler:
        assert isinstance(generator, Generator)
        return GATSampler(generator, self.codec)

    def _extras(self) -> dict[Net, list[Extra]]:
        config = self.config
        extras: dict[Net, list[Extra]] = {net: [] for net in NETS}
        if config.alignment_weight:
            extras["discriminator"].append(AlignmentTerm(config.alignment_weight))
        if config.consistency_weight:
            extras["generator"].append(Consistency(config.consistency_weight, self.shape.scales))
        return extras

    def _teacher(self, tensors: Mapping[str, Tensor]) -> DinoV2:
        teacher, wanted = teacher_of(tensors), self.config.alignment_features
        if teacher.width != wanted:
            raise UserError(
                f"fixtures.{TEACHER}: its tokens have {teacher.width} features; allowed: {wanted}, which "
                "family.alignment_features asks for"
            )
        return teacher
