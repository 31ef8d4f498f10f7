"""ProGAN's plan: which level when, how far it has faded in, with which batch and rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.config.families import ProGANConfig
from pipeline.contracts import Net, Stage
from pipeline.models.progan.shape import level_of
from pipeline.models.schedule import ema_beta

# Global batch and learning rate by resolution for so many GPUs: the "v2" settings of the authors' code
# (config.py of progressive_growing_of_gans). What is not named has their base batch (4 images a GPU,
# `batch.size` here) and the rate 0.001.
BATCHES: Mapping[int, Mapping[int, int]] = {
    1: {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
    2: {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
    4: {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
    8: {4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
}
RATES: Mapping[int, Mapping[int, float]] = {
    1: {1024: 0.0015},
    2: {512: 0.0015, 1024: 0.002},
    4: {256: 0.0015, 512: 0.002, 1024: 0.003},
    8: {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
}


@dataclass(frozen=True)
class GrowthSchedule:
    """A level trains alone for `stable_images`, then the next one fades in over `fade_images`, and so on up
    to the last (Karras et al. 2018, figure 2 and appendix A.1).

    resolutions: of the levels, first to last. batch_size: where nothing names another. factors: on each
    network's learning rate (lazy regularisation). Both ends of a fade change `Stage.growth`, for the authors
    begin Adam's moments anew at both.
    """

    config: ProGANConfig
    resolutions: Sequence[int]
    batch_size: int
    factors: Mapping[Net, float]

    def at(self, images_seen: int) -> Stage:
        level, fade, growth = self._place(images_seen)
        resolution = self.resolutions[level]
        batch = self._batch(resolution)
        return Stage(
            resolution=resolution,
            fade=fade,
            batch_size=batch,
            rates={
                "generator": self._rate(resolution, self.config.generator_rate) * self.factors["generator"],
                "discriminator": self._rate(resolution, self.config.discriminator_rate)
                * self.factors["discriminator"],
            },
            growth=growth,
            ema_beta=self._ema_beta(batch, images_seen),
        )

    def batch_sizes(self) -> tuple[int, ...]:
        return tuple(sorted({self._batch(resolution) for resolution in self.resolutions}))

    def _place(self, images_seen: int) -> tuple[int, float, int]:
        """Level, its fade, and how many fades have begun or ended."""
        stable, fade, last = self.config.stable_images, self.config.fade_images, len(self.resolutions) - 1
        level, into = divmod(images_seen, stable + fade)
        if level >= last:
            return last, 1.0, 2 * last
        if into <= stable:
            return level, 1.0, 2 * level
        return level + 1, (into - stable) / fade, 2 * level + 1

    def _batch(self, resolution: int) -> int:
        table = BATCHES[self.config.gpus] if self.config.gpus else {}
        return _named(self.config.level_batches, resolution) or table.get(resolution, self.batch_size)

    def _rate(self, resolution: int, base: float) -> float:
        table = RATES[self.config.gpus] if self.config.gpus else {}
        return _named(self.config.level_rates, resolution) or table.get(resolution, base)

    def _ema_beta(self, batch: int, images_seen: int) -> float:
        config = self.config
        if config.ema_decay is None:
            return ema_beta(config, batch * config.discriminator_repeats, images_seen)
        return 0.0 if images_seen < config.ema_from_images else config.ema_decay


T = TypeVar("T")


def _named(values: Sequence[T | None], resolution: int) -> T | None:
    """What a list with one value a level says of a resolution."""
    level = level_of(resolution)
    return values[level] if level < len(values) else None
