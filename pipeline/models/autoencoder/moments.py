"""Latents as distributions: normal, independent, with a mean and a variance for each number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST, _MOST = -30.0, 20.0  # of log-variances


@dataclass(frozen=True, slots=True)
class Moments:
    """mean, log_variance: [N, C, H, W]."""

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        return (0.5 * self.log_variance).exp()

    def sample(self, noise: Tensor) -> Tensor:
        """Returns latents [N, C, H, W] from standard normal noise (Kingma and Welling 2014, eq. 10)."""
        return self.mean + self.std * noise

    def kl(self) -> Tensor:
        """Returns the divergence from the standard normal distribution in nats, [N], summed over all numbers
        of an image's latents (Kingma and Welling 2014, appendix B)."""
        each = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * each.flatten(1).sum(dim=1)

    def together(self) -> Tensor:
        """Returns mean and log-variance as one tensor [N, 2C, H, W], of which `moments_of` makes the same."""
        return torch.cat([self.mean, self.log_variance], dim=1)


def moments_of(both: Tensor) -> Moments:
    """Returns the moments in [N, 2C, H, W], means first; log-variances are clamped to [-30, 20]."""
    mean, log_variance = both.chunk(2, dim=1)
    return Moments(mean, log_variance.clamp(_LEAST, _MOST))


def certain(latents: Tensor) -> Moments:
    """Returns latents that are known as if they were a distribution, of the least variance."""
    return Moments(latents, torch.full_like(latents, _LEAST))
