"""ProGAN's schedule: the level at each position, its fade, batch size and learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.config.families import ProGANConfig
from pipeline.contracts import Net, Stage
from pipeline.models.progan.shape import level_of
from pipeline.models.schedule import ema_beta

# Global batch size and learning rate by number of GPUs and resolution: the "v2" settings of the authors' code
# (config.py of progressive_growing_of_gans). Other resolutions have its base batch (4 images per GPU; here
# `batch.size`) and the rate 0.001.
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
    """Each level trains by itself for `stable_images`, then the next one fades in over `fade_images`, up to
    the last level (Karras et al. 2018, figure 2 and appendix A.1).

    resolutions: those of the levels, from first to last. batch_size: the global batch size of levels for
    which the config names no other. factors: a factor on each network's learning rate (lazy regularisation).
    `Stage.growth` changes at the beginning and at the end of a fade, since the authors' code resets Adam's
    moments at both.
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
        """Returns the level, its fade, and the number of beginnings and ends of fades so far."""
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
    """Returns the value for a resolution in a list with one value per level, or None."""
    level = level_of(resolution)
    return values[level] if level < len(values) else None
