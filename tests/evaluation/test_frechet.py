"""The Frechet distance against scipy's matrix root, torch-fidelity's, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from pipeline.evaluation.arithmetic.frechet import frechet_distance, frechet_within, sqrt_trace
from pipeline.evaluation.arithmetic.moments import FeatureMoments, Gaussian


def features(count: int, size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator) / size**0.5
    return torch.relu(torch.randn(count, size, generator=generator) @ mixing + 0.3) + shift


def gaussian(samples: torch.Tensor) -> Gaussian:
    moments = FeatureMoments(samples.shape[1])
    moments.add(samples)
    return moments.gaussian()


def by_definition(first: torch.Tensor, second: torch.Tensor) -> float:
    a, b = first.double().numpy(), second.double().numpy()
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(ca @ cb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * np.real(root)))


@pytest.mark.parametrize("size", [3, 64])
def test_it_is_scipys(size: int) -> None:
    first, second = features(500, size, 1), features(700, size, 2, shift=0.1)
    found = frechet_distance(gaussian(first), gaussian(second))
    assert found == pytest.approx(by_definition(first, second), rel=1e-9)


def test_it_is_torch_fidelitys_on_the_same_features() -> None:
    first, second = features(800, 192, 1), features(900, 192, 2)
    found = frechet_distance(gaussian(first), gaussian(second))
    for precise, tolerance in ((True, 1e-10), (False, 1e-6)):
        theirs = [fid_features_to_statistics(f.double() if precise else f) for f in (first, second)]
        # On float32 features they take the mean in float32.
        theirs = [{k: v.astype(np.float64) for k, v in stat.items()} for stat in theirs]
        expected = fid_statistics_to_metric(*theirs, verbose=False)[KEY_METRIC_FID]
        assert found == pytest.approx(expected, rel=tolerance)


def test_fewer_samples_than_dimensions() -> None:
    """Singular covariances: the exact value from the Gram matrix of the centred samples."""
    first, second = features(40, 300, 1), features(30, 300, 2)
    a, b = (f.double() - f.double().mean(0) for f in (first, second))
    # The eigenvalues of A^T A B^T B that are not 0 are the squared singular values of A B^T.
    expected = torch.linalg.svdvals(a @ b.T).sum() / (39 * 29) ** 0.5
    found = sqrt_trace(gaussian(first).covariance, gaussian(second).covariance)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_equal_sets_are_at_distance_zero_and_order_does_not_matter() -> None:
    first, second = gaussian(features(400, 32, 1)), gaussian(features(400, 32, 2))
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-10)


def test_a_shift_costs_its_square() -> None:
    first = features(400, 16, 1)
    found = frechet_distance(gaussian(first), gaussian(first + 0.5))
    assert found == pytest.approx(16 * 0.25, rel=1e-5)


@pytest.mark.parametrize(
    ("counts", "size"), [((500, 700), 16), ((40, 30), 300), ((20, 500), 64), ((16, 500), 16)]
)
def test_within_a_class_it_is_the_same_distance(counts: tuple[int, int], size: int) -> None:
    first, second = (features(count, size, seed) for seed, count in enumerate(counts))
    second = second + 0.2
    expected = frechet_distance(gaussian(first), gaussian(second))
    assert frechet_within(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_within(first, first) == pytest.approx(0, abs=1e-6)
