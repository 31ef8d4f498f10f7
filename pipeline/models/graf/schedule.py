"""GRAF's schedule: patches that become smaller, noise that vanishes, learning rates that are halved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pipeline.config.families import GRAFConfig
from pipeline.contracts import Stage
from pipeline.models.schedule import ConstantSchedule, with_rates

LEAST_SCALE, DENSITY_NOISE = "patch_scale", "density_noise"
_LARGEST_LEAST = 0.9  # as in the authors' code


@dataclass(frozen=True)
class GRAFSchedule(ConstantSchedule):
    """One stage, with the least scale of a patch and, until it is gone, the noise on densities as its
    weights."""

    config: GRAFConfig

    def at(self, images_seen: int) -> Stage:
        stage, config = super().at(images_seen), self.config
        halvings = sum(images_seen >= images for images in config.rate_halving_images)
        noise = config.density_noise * (1 - images_seen / config.density_noise_images)
        return replace(
            with_rates(stage, 0.5**halvings),
            weights={
                LEAST_SCALE: self._least_scale(images_seen),
                **({DENSITY_NOISE: noise} if noise > 0 else {}),
            },
        )

    def _least_scale(self, images_seen: int) -> float:
        least, most = self.config.patch_scale
        if not self.config.patch_scale_rate:
            return least
        falls = images_seen // self.config.patch_scale_images
        fallen = most * math.exp(-self.config.patch_scale_rate * falls)
        return max(least, min(fallen, _LARGEST_LEAST * most))
