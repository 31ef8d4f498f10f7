"""One batch's random parameters: every operation draws the same number of them whether it fires or not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.contracts import Randomness


class Draws:
    """Numbers [N] handed out in the order in which operations ask for them.

    p: 0-d, the probability that an operation fires. uniforms, normals: how many numbers a sample, drawn
    at once: each sample has a generator of its own, so that a call costs a kernel launch a sample.
    """

    def __init__(self, randomness: Randomness, p: Tensor, uniforms: int, normals: int) -> None:
        self.p = p
        self._uniforms: Iterator[Tensor] = iter(randomness.uniform(uniforms).unbind(1))
        self._normals: Iterator[Tensor] = iter(randomness.normal(normals).unbind(1))

    def fires(self, p: Tensor | None = None) -> Tensor:
        """[N] bool, true with probability p: never at 0, always at 1."""
        # "<", since a uniform number may be 0 and is never 1.
        return next(self._uniforms) < (self.p if p is None else p)

    def uniform(self, low: float, high: float) -> Tensor:
        """Uniform in [low, high)."""
        return low + (high - low) * next(self._uniforms)

    def whole(self, high: int) -> Tensor:
        """Uniform whole numbers in [0, high), int64; high: a power of two, lest a number round up to it."""
        return (next(self._uniforms) * high).long()

    def normal(self, std: float) -> Tensor:
        """Normal of mean 0."""
        return std * next(self._normals)

    def log_normal(self, scale: float) -> Tensor:
        """2 to the power of a normal number: Lognormal(0, (scale * ln 2)^2)."""
        return torch.exp2(self.normal(scale))
