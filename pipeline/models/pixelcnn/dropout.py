"""Dropout whose masks are drawn beforehand, each image's from its own stream."""

from __future__ import annotations

from torch import Tensor


class Dropout:
    """Removes numbers with probability `rate` and divides the others by 1 - rate (Srivastava et al. 2014).

    draws: uniform numbers in [0, 1), one for each number that may be removed, [N, numbers]; layers take
    theirs in the order in which they compute.
    """

    def __init__(self, rate: float, draws: Tensor) -> None:
        self._rate, self._kept, self._taken = rate, draws >= rate, 0

    def factors(self, shape: tuple[int, int, int]) -> Tensor:
        """Returns what the next activations [N, *shape] are multiplied by."""
        numbers = shape[0] * shape[1] * shape[2]
        kept = self._kept[:, self._taken : self._taken + numbers]
        self._taken += numbers
        return kept.reshape(-1, *shape).float() / (1 - self._rate)
