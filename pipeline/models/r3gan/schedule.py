"""R3GAN's schedule: settings follow half a cosine during a burn-in and are constant after it (appendix D)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config.families import R3GANConfig
from pipeline.contracts import NETS, Net, Stage
from pipeline.models.schedule import ema_beta


@dataclass(frozen=True)
class BurnInSchedule:
    """Learning rates, Adam's second decay rate, penalties, average and augmentation as functions of images
    seen.

    images_a_step: the images that one step adds to the position. factors: c of each network (lazy
    regularisation: the learning rate is multiplied by c, and the decay rate is taken to the power of c).
    `Stage.weights` holds "r1_gamma", "r2_gamma" and "augment_p".
    """

    config: R3GANConfig
    resolution: int
    batch_size: int
    images_a_step: int
    factors: Mapping[Net, float]

    def at(self, images_seen: int) -> Stage:
        def now(name: str) -> float:
            start, end = getattr(self.config, name), getattr(self.config, f"{name}_end")
            return cosine(start, end, images_seen / self.config.burn_in_images)

        return Stage(
            resolution=self.resolution,
            fade=1.0,
            batch_size=self.batch_size,
            rates={net: now(f"{net}_rate") * self.factors[net] for net in NETS},
            ema_beta=ema_beta(self.config, self.images_a_step, images_seen, now("ema_half_life_images")),
            adam_beta2={net: now("adam_beta2") ** self.factors[net] for net in NETS},
            weights={name: now(name) for name in ("r1_gamma", "r2_gamma", "augment_p")},
        )

    def batch_sizes(self) -> tuple[int, ...]:
        return (self.batch_size,)


def cosine(start: float, end: float, progress: float) -> float:
    """Returns `start` at progress 0, `end` from progress 1 on, and half a cosine between."""
    share = (1 - math.cos(math.pi * min(progress, 1.0))) / 2
    return start + share * (end - start)
