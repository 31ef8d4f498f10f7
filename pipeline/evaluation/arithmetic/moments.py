"""Mean and covariance of features, accumulated in float64 so that parts merge in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

FEATURE_SIZE = 2048
"""D, the number of channels of Inception's last pooling layer."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """mean [D] and covariance [D, D] (divided by N - 1), float64, on the CPU."""

    mean: Tensor
    covariance: Tensor


class FeatureMoments:
    """Sums over feature vectors: n, sum x and sum x x^T, in float64.

    `merge` is associative and commutative up to rounding, so that parts may come from batches, shards or
    processes in any order.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self.total = torch.zeros(size, dtype=torch.float64)
        self.outer = torch.zeros(size, size, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Adds [N, D] features of any float type and device."""
        # On the CPU: on GPUs without fast float64, the sums would take longer than the copy.
        rows = features.detach().to("cpu", torch.float64)
        self.count += rows.shape[0]
        self.total += rows.sum(0)
        self.outer.addmm_(rows.T, rows)

    def merge(self, other: FeatureMoments) -> None:
        """Adds what `other` has seen."""
        if other.total.shape != self.total.shape:
            raise ValueError(f"features of size {other.total.numel()}, expected {self.total.numel()}")
        self.count += other.count
        self.total += other.total
        self.outer += other.outer

    def gaussian(self) -> Gaussian:
        """The normal distribution with these moments. ValueError for fewer than two samples."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, not {self.count}")
        mean = self.total / self.count
        scatter = self.outer - self.count * torch.outer(mean, mean)
        return Gaussian(mean, scatter / (self.count - 1))

    def tensors(self) -> dict[str, Tensor]:
        """The sums by name, for storage."""
        return {"count": torch.tensor(self.count), "total": self.total, "outer": self.outer}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FeatureMoments:
        """The inverse of `tensors`."""
        moments = cls(tensors["total"].shape[0])
        moments.count = int(tensors["count"])
        moments.total, moments.outer = tensors["total"], tensors["outer"]
        return moments
