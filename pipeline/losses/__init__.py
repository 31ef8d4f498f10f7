"""Objectives, each an equation of a paper."""

from pipeline.losses.adversarial import (
    discriminator_logistic,
    generate_detached,
    generator_logistic,
    logit_stats,
)
from pipeline.losses.penalties import R1, PathLength, path_lengths

__all__ = [
    "R1",
    "PathLength",
    "discriminator_logistic",
    "generate_detached",
    "generator_logistic",
    "logit_stats",
    "path_lengths",
]
