"""The schedule of families whose conditions do not change, and the decay of every family's average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.config.families import Optimisation
from pipeline.contracts import Net, Stage


@dataclass(frozen=True)
class ConstantSchedule:
    """A schedule with one stage throughout.

    images_a_step: the images that one step adds to the position (batch size times the discriminator's
    repeats). factors: a factor on each network's learning rate (lazy regularisation).
    """

    config: Optimisation
    resolution: int
    batch_size: int
    images_a_step: int
    factors: Mapping[Net, float]

    def at(self, images_seen: int) -> Stage:
        return Stage(
            resolution=self.resolution,
            fade=1.0,
            batch_size=self.batch_size,
            rates={
                "generator": self.config.generator_rate * self.factors["generator"],
                "discriminator": self.config.discriminator_rate * self.factors["discriminator"],
            },
            ema_beta=ema_beta(self.config, self.images_a_step, images_seen),
        )

    def batch_sizes(self) -> tuple[int, ...]:
        return (self.batch_size,)


def with_rates(stage: Stage, factor: float) -> Stage:
    """Returns the stage with its learning rates multiplied by `factor`."""
    return replace(stage, rates={net: rate * factor for net, rate in stage.rates.items()})


def halved(stage: Stage, images_seen: int, every: int | None, floor: float = 0.0) -> Stage:
    """Returns the stage with its learning rates halved once for each `every` images seen; None: not at all.
    None is halved to below `floor`, and one that begins there stays."""
    factor = 1.0 if every is None else 0.5 ** (images_seen // every)
    return replace(
        stage, rates={net: max(rate * factor, min(rate, floor)) for net, rate in stage.rates.items()}
    )


def ema_beta(
    config: Optimisation, images_a_step: int, images_seen: int, half_life: float | None = None
) -> float:
    """Returns the decay of the averaged generator, 0.5^(images a step / half-life); 0 until
    `ema_from_images`.

    The half-life is at most ramp * images seen (Karras et al. 2020b). half_life: the current one, in images;
    None for `ema_half_life_images`.
    """
    half_life = float(config.ema_half_life_images) if half_life is None else half_life
    if config.ema_ramp is not None:
        half_life = min(half_life, config.ema_ramp * images_seen)
    if images_seen < config.ema_from_images or half_life <= 0:
        return 0.0
    return float(0.5 ** (images_a_step / half_life))
