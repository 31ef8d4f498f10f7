"""How far the latents of a data set spread, gathered in one pass, in any number of parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` numbers, all latents of some images together: their mean, and `squares`, the sum of their
    expected squared distances from it.

    A latent is drawn from its own normal distribution, so its expected square is that of its mean, plus its
    variance.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, moments: npt.NDArray[Any]) -> Spread:
        """Of the means and standard deviations [2C, H, W] of one image's latents."""
        means, stds = np.split(moments.astype(np.float64), 2)
        mean = float(means.mean())
        return cls(means.size, mean, float(np.square(means - mean).sum() + np.square(stds).sum()))

    def __add__(self, other: Spread) -> Spread:
        """Of both together (Chan et al. 1983, eq. 2.1), without the cancellation of sums of squares."""
        count = self.count + other.count
        if not count:
            return self
        apart, share = other.mean - self.mean, other.count / count
        squares = self.squares + other.squares + apart * apart * self.count * share
        return Spread(count, self.mean + apart * share, squares)

    @property
    def std(self) -> float:
        """The standard deviation of the latents, over all images, channels and places."""
        return math.sqrt(self.squares / self.count)
