"""R3GAN's schedule: everything moves along half a cosine during a burn-in, then stands (appendix D)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config.families import R3GANConfig
from pipeline.contracts import NETS, Net, Stage
from pipeline.models.schedule import ema_beta


@dataclass(frozen=True)
class BurnInSchedule:
    """Rates, Adam's second decay, penalties, average and augmentation by images seen.

    images_a_step: how far a step moves the position. factors: c of each network (lazy regularisation:
    its rate times c, its decay to the power of c). Stage.weights: "r1_gamma", "r2_gamma", "augment_p".
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
    """`start` at progress 0, `end` from 1 on, half a cosine between."""
    share = (1 - math.cos(math.pi * min(progress, 1.0))) / 2
    return start + share * (end - start)
