"""The random parameters of a batch. Every operation draws the same number of them whether it fires or not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.contracts import Randomness


class Draws:
    """Hands out random numbers [N] in the order in which operations ask for them.

    p: the probability that an operation fires, 0-d. uniforms, normals: how many uniform and normal numbers
    each sample gets. They are drawn at once, because each sample has a generator of its own and every call
    costs one kernel launch per sample.
    """

    def __init__(self, randomness: Randomness, p: Tensor, uniforms: int, normals: int) -> None:
        self.p = p
        self._uniforms: Iterator[Tensor] = iter(randomness.uniform(uniforms).unbind(1))
        self._normals: Iterator[Tensor] = iter(randomness.normal(normals).unbind(1))

    def fires(self, p: Tensor | None = None) -> Tensor:
        """Draws [N] bool, true with probability p: never at 0, always at 1."""
        # "<", because a uniform number may be 0 but is never 1.
        return next(self._uniforms) < (self.p if p is None else p)

    def uniform(self, low: float, high: float) -> Tensor:
        """Draws uniform numbers in [low, high)."""
        return low + (high - low) * next(self._uniforms)

    def whole(self, high: int) -> Tensor:
        """Draws uniform integers in [0, high), int64. high: a power of two, so that none rounds up to it."""
        return (next(self._uniforms) * high).long()

    def normal(self, std: float) -> Tensor:
        """Draws normal numbers with mean 0."""
        return std * next(self._normals)

    def log_normal(self, scale: float) -> Tensor:
        """Draws 2 to the power of normal numbers: Lognormal(0, (scale * ln 2)^2)."""
        return torch.exp2(self.normal(scale))
