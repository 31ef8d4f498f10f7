"""Averages whose weights are a power of the images seen, and how others are made of them after training
(Karras et al. 2024, section 3 and appendix C)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.run import WIDEST

Array = npt.NDArray[np.float64]


def width_of(exponent: float) -> float:
    """Returns the standard deviation of the profile with this exponent, as a share of the images seen
    (sigma_rel, section 3)."""
    return math.sqrt(exponent + 1) / ((exponent + 2) * math.sqrt(exponent + 3))


def exponent_of(width: float) -> float:
    """Returns the exponent gamma of the profile of this width, 0 < width < WIDEST: the inverse of
    `width_of`, the largest real root of a cubic polynomial."""
    if not 0 < width < WIDEST:
        raise ValueError(f"width {width}: must be above 0 and below {WIDEST}")
    share = width**-2
    roots = np.roots([1.0, 7.0, 16.0 - share, 12.0 - share])
    return float(max(root.real for root in roots if abs(root.imag) <= 1e-6 * abs(root)))


def step_of(exponent: float, images: float, taken: float) -> float:
    """Returns 1 - beta of the step that ends `taken` images after the average began and had `images` of
    them: 1 - (1 - images / taken)^(exponent + 1), which is 1 at the first step.

    The average after it is exactly that of the profile over weights that stand still within each step, for
    any sequence of batch sizes.
    """
    if images >= taken:
        return 1.0
    return -math.expm1((exponent + 1) * math.log1p(-images / taken))


@dataclass(frozen=True)
class Profile:
    """The average of the weights over 0 < s <= images, each with the density
    (exponent + 1) s^exponent / images^(exponent + 1)."""

    exponent: float
    images: float


def inner_products(rows: Sequence[Profile], columns: Sequence[Profile]) -> Array:
    """Returns the integrals of the products of densities, [rows, columns]."""
    a, s = (np.array([getattr(one, key) for one in rows])[:, None] for key in ("exponent", "images"))
    b, t = (np.array([getattr(one, key) for one in columns])[None, :] for key in ("exponent", "images"))
    earlier = np.where(s < t, (s / t) ** b, (t / s) ** a)
    products: Array = (a + 1) * (b + 1) * earlier / ((a + b + 1) * np.maximum(s, t))
    return products


@dataclass(frozen=True)
class Mixture:
    """What makes one average of others: average i counts `weights[i]`; the weights sum to 1.

    error: how far the profile is from the one that was wanted, as a share of that, in the L2 norm.
    """

    weights: tuple[float, ...]
    error: float


def mixture(parts: Sequence[Profile], wanted: Profile) -> Mixture:
    """Returns the mixture of `parts` whose profile is nearest to the one that is wanted: least squares, with
    a sum of 1 as the constraint."""
    gram, aim = inner_products(parts, parts), inner_products(parts, [wanted])[:, 0]
    size = float(inner_products([wanted], [wanted])[0, 0])
    # In units of each profile's own norm the equations stay solvable where narrow and wide ones meet.
    norms = np.sqrt(np.diag(gram))
    scaled = gram / np.outer(norms, norms)
    sides = np.stack([aim, np.ones_like(aim)], axis=1) / norms[:, None]
    free, even = (np.linalg.lstsq(scaled, sides, rcond=None)[0] / norms[:, None]).T
    weights = free + (1 - free.sum()) / even.sum() * even
    squared = weights @ gram @ weights - 2 * weights @ aim + size
    return Mixture(tuple(map(float, weights)), math.sqrt(max(float(squared), 0.0) / size))
