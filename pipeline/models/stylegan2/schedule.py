"""StyleGAN2's schedule: one stage throughout, and a weight average whose half-life may ramp up."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import AdamRule, Net, Stage

Lazy = dict[Net, float]


@dataclass(frozen=True)
class ConstantSchedule:
    """rates: each network's learning rate, lazy regularisation included."""

    config: StyleGAN2Config
    resolution: int
    batch_size: int

    def at(self, images_seen: int) -> Stage:
        lazy = lazy_factors(self.config)
        return Stage(
            resolution=self.resolution,
            fade=1.0,
            batch_size=self.batch_size,
            rates={
                "generator": self.config.generator_rate * lazy["generator"],
                "discriminator": self.config.discriminator_rate * lazy["discriminator"],
            },
            ema_beta=self.ema_beta(images_seen),
        )

    def ema_beta(self, images_seen: int) -> float:
        """0.5^(batch / half-life), the half-life at most ramp * images seen (ramp: 2020b)."""
        half_life = float(self.config.ema_half_life_images)
        if self.config.ema_ramp is not None:
            half_life = min(half_life, self.config.ema_ramp * images_seen)
        return 0.5 ** (self.batch_size / half_life) if half_life > 0 else 0.0


def lazy_factors(config: StyleGAN2Config) -> Lazy:
    """c = k / (k + 1) of each network, k the interval of its regularisation (Karras et al. 2020a,
    appendix B, "lazy regularization"); 1 without any."""
    path, r1 = config.path_length_every, config.r1_every
    return {
        "generator": path / (path + 1) if config.path_length_weight > 0 else 1.0,
        "discriminator": r1 / (r1 + 1) if config.r1_gamma > 0 else 1.0,
    }


def adam_rules(config: StyleGAN2Config) -> dict[Net, AdamRule]:
    """Adam's constants, betas to the power of c: regularisation phases are further updates a step."""
    return {
        net: AdamRule(config.adam_beta1**c, config.adam_beta2**c, config.adam_eps)
        for net, c in lazy_factors(config).items()
    }
