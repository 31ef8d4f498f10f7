"""StyleGAN2 as a value: networks, schedule, phases, game, memory, sampler (Karras et al. 2020a, 2020b)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import (
    PIXELS,
    Batch,
    Fakes,
    Game,
    ImageSpec,
    Net,
    Networks,
    Phase,
    Randomness,
    Rule,
    Schedule,
    Stage,
)
from pipeline.losses import PathLength
from pipeline.models.codecs import ThroughCodec
from pipeline.models.groups import check_groups
from pipeline.models.phases import adam_rules, discriminator_phases, generator_phase, lazy_factors
from pipeline.models.plain import Augmenting, one_after_another, retouching
from pipeline.models.schedule import ConstantSchedule
from pipeline.models.stylegan2.discriminator import Discriminator, freeze
from pipeline.models.stylegan2.game import StyleGAN2Game
from pipeline.models.stylegan2.generator import Generator
from pipeline.models.stylegan2.memory import Memory, pull
from pipeline.models.stylegan2.sampler import StyleGAN2Sampler
from pipeline.models.stylegan2.shape import shape_of


class StyleGAN2(ThroughCodec):
    """Implements contracts.Family.

    batch_size: images per step over all ranks. low_precision: the type of the highest
    `config.low_precision_levels` resolutions in passes that are not exact; None for float32. Raises UserError
    for images that the family cannot make.
    """

    config: StyleGAN2Config

    def __init__(
        self,
        config: StyleGAN2Config,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.config, self.spec = config, spec
        self._seen = self.codec.latents(spec)
        self.shape = shape_of(config, self._seen, low_precision)
        lazy: dict[Net, list[int]] = {
            "generator": [config.path_length_every] if config.path_length_weight > 0 else []
        }
        self.schedule: Schedule = ConstantSchedule(
            config,
            spec.height,
            batch_size,
            batch_size * config.discriminator_repeats,
            lazy_factors(config, lazy),
        )
        self.optimizers: Mapping[Net, Rule] = adam_rules(config, config, lazy)
        self.fixtures: Mapping[str, nn.Module] = {}
        self._memory = Memory(config, self._seen)
        self.memory: nn.Module = self._memory
        self.phases = self._phases()

    def networks(self) -> Networks:
        discriminator = Discriminator(self.shape)
        freeze(discriminator, self.config.freeze_discriminator)
        return Networks(Generator(self.shape), discriminator)

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        seen, config, diffusion = self._seen, self.config, self._memory.losses.diffusion
        augment: Augmenting | None = self._memory.augmentation
        if config.ada.mode == "off":
            augment = retouching(config, seen, (seen.height, seen.width), pixels=self.codec is PIXELS)
        game = StyleGAN2Game(networks, stage, randomness, augment, mixing=config.style_mixing)
        if diffusion is None:
            return game
        noising = partial(diffusion.draw, shape=(seen.channels, seen.height, seen.width))
        if config.diffusion.told:
            return replace(game, noising=noising)
        return replace(game, augment=one_after_another(augment, noising))

    def check_batch(self, images: int) -> None:
        """Requires that the images which a rank holds at once form whole minibatch-stddev groups."""
        if self.config.minibatch_stddev_channels:
            check_groups("family.minibatch_stddev_group", self.config.minibatch_stddev_group, images)

    @torch.no_grad()
    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """Updates w_avg, the mean path length and p.

        w_avg is updated once per step, with the unmixed w of the discriminator's turn. The public code of
        Karras et al. 2020b updates it in every pass of the generator, those of lazy phases included, which is
        2.25 times per step.
        """
        assert isinstance(networks.generator, Generator)
        w_avg = networks.generator.mapping.w_avg
        if "w_mean" in stats:
            assert isinstance(w_avg, Tensor)
            pull(w_avg, stats["w_mean"], 1 - self.config.w_avg_decay)
        self._memory.observe(stats, images)

    def figures(self) -> Mapping[str, Tensor]:
        ada = {} if self.config.ada.mode == "off" else {"state/ada_p": self._memory.ada.p}
        return {**ada, **self._memory.losses.figures()}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> StyleGAN2Sampler:
        assert isinstance(generator, Generator)
        return StyleGAN2Sampler(generator, self.codec)

    def _phases(self) -> tuple[Phase, ...]:
        config = self.config
        phases = [generator_phase(config, classes=self.spec.classes)]
        if config.path_length_weight > 0:
            objective = PathLength(self.memory, config.path_length_weight, config.path_length_shrink)
            every = config.path_length_every
            phases.append(Phase("path_length", "generator", objective, every=every, gain=every, exact=True))
        discriminator = discriminator_phases(
            config, self._memory.losses, classes=self.spec.classes, observed=self._observed
        )
        return (*phases, *discriminator)

    def _observed(self, fakes: Fakes) -> dict[str, Tensor]:
        """Returns the batch mean of w, for w_avg; layer 0 always has an unmixed style."""
        return {"w_mean": fakes.latents[:, 0].mean(dim=0)}
