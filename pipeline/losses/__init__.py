"""Objectives, each of which implements an equation of a paper."""

from pipeline.losses.adversarial import ADVERSARIAL, Adversarial
from pipeline.losses.extras import Classified, Drift, LeCam, Orthogonal, clip_weights
from pipeline.losses.penalties import GradientPenalty, PathLength, ZeroCentred, path_lengths
from pipeline.losses.pseudo import WithPseudoReals
from pipeline.losses.turns import (
    DiscriminatorTurn,
    Extra,
    GeneratorTurn,
    Play,
    generate_detached,
    judge_fakes,
    logit_stats,
    squared_gradients,
)

__all__ = [
    "ADVERSARIAL",
    "Adversarial",
    "Classified",
    "DiscriminatorTurn",
    "Drift",
    "Extra",
    "GeneratorTurn",
    "GradientPenalty",
    "LeCam",
    "Orthogonal",
    "PathLength",
    "Play",
    "WithPseudoReals",
    "ZeroCentred",
    "clip_weights",
    "generate_detached",
    "judge_fakes",
    "logit_stats",
    "path_lengths",
    "squared_gradients",
]
