"""The Frechet distance between two normal distributions, of features: FID."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.evaluation.moments import Gaussian


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Heusel et al. 2017, eq. 6."""
    difference = first.mean - second.mean
    traces = first.covariance.trace() + second.covariance.trace()
    return float(difference @ difference + traces - 2 * sqrt_trace(first.covariance, second.covariance))


def sqrt_trace(first: Tensor, second: Tensor) -> Tensor:
    """tr((A B)^(1/2)) of two covariances [D, D].

    With A = F F^T, the eigenvalues of A B that are not 0 are those of the symmetric F^T B F: three to
    ten times as fast as a matrix square root or a general eigenvalue problem, and more exact.
    """
    factor = _factor(first)
    eigenvalues: Tensor = torch.linalg.eigvalsh(factor.T @ second @ factor)
    return eigenvalues.clamp_min(0).sqrt().sum()


def _factor(covariance: Tensor) -> Tensor:
    """F with F F^T = covariance: Cholesky's, or, where it is singular, one of as many columns as its rank."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return lower
    values: Tensor
    values, vectors = torch.linalg.eigh(covariance)
    # Below this, an eigenvalue is rounding (numpy's matrix_rank draws the same line).
    line = values.max() * covariance.shape[0] * torch.finfo(covariance.dtype).eps
    kept = values > line
    factor: Tensor = vectors[:, kept] * values[kept].sqrt()
    return factor
