"""StyleGAN3 as a value: networks, schedule, phases, game, memory, sampler (Karras et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import Batch, Game, ImageSpec, Networks, Randomness, Stage
from pipeline.models.augment import Augment, Controller
from pipeline.models.groups import check_groups
from pipeline.models.phases import lazy_factors
from pipeline.models.plain import Augmenting, PlainFamily, one_after_another
from pipeline.models.stylegan2.discriminator import Discriminator, freeze
from pipeline.models.stylegan2.memory import pull
from pipeline.models.stylegan3.blur import SIGMA, Blurring, SharpeningSchedule
from pipeline.models.stylegan3.game import MEAN_W, SQUARES, StyleGAN3Game
from pipeline.models.stylegan3.generator import Generator
from pipeline.models.stylegan3.sampler import StyleGAN3Sampler
from pipeline.models.stylegan3.shape import shape_of


class StyleGAN3(PlainFamily):
    """Implements contracts.Family.

    batch_size: images per step over all ranks. low_precision: the type of the generator's layers of the
    highest `config.low_precision_levels` sampling rates, and of as many resolutions of the discriminator, in
    passes that are not exact; None for float32. Raises UserError for images that the family cannot make.
    """

    config: StyleGAN3Config

    def __init__(
        self,
        config: StyleGAN3Config,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        self.shape = shape_of(config, spec, low_precision)
        images_a_step = batch_size * config.discriminator_repeats
        schedule = SharpeningSchedule(config, spec.height, batch_size, images_a_step, lazy_factors(config))
        super().__init__(config, spec, batch_size=batch_size, schedule=schedule)
        self._ada = Controller(config.ada)
        size, off = (spec.height, spec.width), config.ada.mode == "off"
        self._augment = None if off else Augment(config.ada, size, spec.channels)
        # The augmentation is a part of the memory so that its constants move to the device; it saves nothing.
        self.memory = nn.ModuleDict({"losses": self.losses, "ada": self._ada})
        if self._augment is not None:
            self.memory["augment"] = self._augment

    def networks(self) -> Networks:
        discriminator = Discriminator(self.shape.discriminator)
        freeze(discriminator, self.config.freeze_discriminator)
        return Networks(Generator(self.shape), discriminator)

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        noise = self.losses.diffusion
        if noise is None or not self.config.diffusion.told:
            return StyleGAN3Game(networks, stage, randomness, self.hiding(stage))
        noising = partial(noise.draw, shape=(self.spec.channels, self.spec.height, self.spec.width))
        return StyleGAN3Game(networks, stage, randomness, self.augmenting(stage), noising=noising)

    def augmenting(self, stage: Stage) -> Augmenting | None:
        """Returns the blur of this stage, then the augmentation."""
        augment = super().augmenting(stage)
        if self._augment is not None:
            augment = partial(self._augment.draw, p=self._ada.p)
        if SIGMA not in stage.weights:
            return augment
        return one_after_another(Blurring(stage.weights[SIGMA], self.config.blur_sigma), augment)

    def check_batch(self, images: int) -> None:
        """Requires that the images which a rank holds at once form whole minibatch-stddev groups."""
        if self.config.minibatch_stddev_channels:
            check_groups("family.minibatch_stddev_group", self.config.minibatch_stddev_group, images)

    @torch.no_grad()
    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """Updates p, w_avg and the layers' magnitudes, each once per step, by the fakes of the
        discriminator's turn."""
        super().observe(networks, stats, images)
        if "signs/real" in stats:
            self._ada.observe(stats["signs/real"], images)
        generator, config = networks.generator, self.config
        assert isinstance(generator, Generator)
        if MEAN_W in stats:
            assert generator.mapping.w_avg is not None
            pull(generator.mapping.w_avg, stats[MEAN_W], 1 - config.w_avg_decay)
        if SQUARES in stats and config.magnitude_half_life_images:
            weight = 1 - 0.5 ** (images / config.magnitude_half_life_images)
            for layer, square in zip(generator.synthesis.layers, stats[SQUARES], strict=True):
                pull(layer.magnitude, square, weight)  # type: ignore[arg-type]

    def figures(self) -> Mapping[str, Tensor]:
        ada = {} if self.config.ada.mode == "off" else {"state/ada_p": self._ada.p}
        return {**ada, **super().figures()}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> StyleGAN3Sampler:
        assert isinstance(generator, Generator)
        return StyleGAN3Sampler(generator)
