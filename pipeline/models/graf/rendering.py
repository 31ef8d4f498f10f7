"""Points along rays, and what a ray sees of the colours and densities there (Mildenhall et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

_BEYOND = 1e10
"""The length of a ray behind its last point: any matter there is opaque."""


def depths_of(near: Tensor, far: Tensor, count: int, jitter: Tensor | None = None) -> Tensor:
    """Returns where the points of rays are, in lengths of directions: evenly from `near` to `far` [N], as
    [N, 1, count], or each drawn from the part of the ray that is nearest to it (eq. 2), as [N, R, count].

    jitter: uniform numbers [N, R, count] in [0, 1).
    """
    at = torch.linspace(0, 1, count, device=near.device)
    even = (near[:, None] * (1 - at) + far[:, None] * at)[:, None]
    if jitter is None:
        return even
    middles = (even[..., 1:] + even[..., :-1]) / 2
    lower = torch.cat([even[..., :1], middles], dim=2)
    upper = torch.cat([middles, even[..., -1:]], dim=2)
    return lower + (upper - lower) * jitter


def weights_of(density: Tensor, depths: Tensor, lengths: Tensor) -> Tensor:
    """Returns the share of a ray's colour that each of its points has (eq. 3), [N, R, S]: how much of it
    comes so far, times how much the point's stretch of the ray stops. Shares add up to at most 1.

    density: [N, R, S], at least 0. depths: [N, R, S] or [N, 1, S], growing. lengths: [N, R], of directions.
    """
    steps = depths.diff(dim=2) * lengths[..., None]
    stopped = density[..., :-1] * steps
    count = density.shape[2]
    # By a product with a triangle: running sums have no kernel on a GPU that repeats its bits.
    before = torch.ones(count - 1, count, device=density.device).triu(1)
    coming = (-(stopped @ before)).exp()
    whole = torch.cat([stopped, density[..., -1:] * lengths[..., None] * _BEYOND], dim=2)
    return coming * -torch.expm1(-whole)


def composite(colours: Tensor, weights: Tensor, background: float) -> Tensor:
    """Returns what rays see, [N, R, C]: colours [N, R, S, C] by their weights [N, R, S], and the background
    through what they leave."""
    seen = (weights[..., None, :] @ colours).squeeze(2)
    return seen + background * (1 - weights.sum(dim=2, keepdim=True))
