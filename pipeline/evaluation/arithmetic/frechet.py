"""The Frechet distance between normal distributions of features: FID."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.evaluation.arithmetic.moments import Gaussian


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Heusel et al. 2017, eq. 6."""
    difference = first.mean - second.mean
    traces = first.covariance.trace() + second.covariance.trace()
    return float(difference @ difference + traces - 2 * sqrt_trace(first.covariance, second.covariance))


def frechet_within(first: Tensor, second: Tensor) -> float:
    """The Frechet distance between the normal distributions of two sets of features [N, D] and [M, D].

    Equal to `frechet_distance` of their moments, but computed from the samples themselves if there are fewer
    samples than dimensions, as within a class: the trace of the root is then the sum of the singular values
    of the [N, M] matrix of products of centred samples.
    """
    a, b = (samples.double() for samples in (first, second))
    difference = a.mean(0) - b.mean(0)
    a, b = (rows.sub(rows.mean(0)).div((len(rows) - 1) ** 0.5) for rows in (a, b))
    if min(len(a), len(b)) >= a.shape[1]:
        root = sqrt_trace(a.T @ a, b.T @ b)
    else:
        root = torch.linalg.svdvals(a @ b.T).sum()
    return float(difference @ difference + a.square().sum() + b.square().sum() - 2 * root)


def sqrt_trace(first: Tensor, second: Tensor) -> Tensor:
    """tr((A B)^(1/2)) of two covariances [D, D].

    With A = F F^T, the nonzero eigenvalues of A B are those of the symmetric matrix F^T B F. This is three to
    ten times as fast as a matrix square root or a general eigenvalue problem, and more accurate.
    """
    factor = _factor(first)
    eigenvalues: Tensor = torch.linalg.eigvalsh(factor.T @ second @ factor)
    return eigenvalues.clamp_min(0).sqrt().sum()


def _factor(covariance: Tensor) -> Tensor:
    """F with F F^T = covariance: the Cholesky factor, or for a singular covariance a factor with as many
    columns as its rank."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return lower
    values: Tensor
    values, vectors = torch.linalg.eigh(covariance)
    # Smaller eigenvalues are rounding errors (numpy's matrix_rank uses the same threshold).
    line = values.max() * covariance.shape[0] * torch.finfo(covariance.dtype).eps
    kept = values > line
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor
