"""Objectives, each of which implements an equation of a paper."""

from pipeline.losses.adversarial import ADVERSARIAL, Adversarial
from pipeline.losses.extras import Classified, Drift, LeCam, Orthogonal, clip_weights
from pipeline.losses.penalties import GradientPenalty, PathLength, ZeroCentred, path_lengths
from pipeline.losses.pseudo import WithPseudoReals
from pipeline.losses.reconstruction import LIKELIHOODS, Balance, Likelihood
from pipeline.losses.slopes import (
    Exact,
    FiniteDifferences,
    Slopes,
    generate_detached,
    judge_fakes,
    squared_gradients,
)
from pipeline.losses.turns import DiscriminatorTurn, Extra, GeneratorTurn, Play, logit_stats, with_extras

__all__ = [
    "ADVERSARIAL",
    "LIKELIHOODS",
    "Adversarial",
    "Balance",
    "Classified",
    "DiscriminatorTurn",
    "Drift",
    "Exact",
    "Extra",
    "FiniteDifferences",
    "GeneratorTurn",
    "GradientPenalty",
    "LeCam",
    "Likelihood",
    "Orthogonal",
    "PathLength",
    "Play",
    "Slopes",
    "WithPseudoReals",
    "ZeroCentred",
    "clip_weights",
    "generate_detached",
    "judge_fakes",
    "logit_stats",
    "path_lengths",
    "squared_gradients",
    "with_extras",
]
