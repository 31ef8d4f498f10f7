"""KID and Inception score of features, against their definitions in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.evaluation.arithmetic.scores import inception_score, kernel_distance


def features(count: int, seed: int, shift: float = 0.0, size: int = 8) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def naive_kid(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased estimate of MMD^2 under the cubic kernel."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def off_diagonal_mean(matrix: np.ndarray) -> float:
        return (matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1))

    within = off_diagonal_mean(kernel(first, first)) + off_diagonal_mean(kernel(second, second))
    return float(within - 2 * kernel(first, second).mean())


def test_kid_of_a_subset_of_all_is_its_definition() -> None:
    first, second = features(50, 1), features(50, 2, shift=0.3)
    found = kernel_distance(first, second)
    assert found["subset_size"] == 50
    assert found["value"] == pytest.approx(
        naive_kid(first.double().numpy(), second.double().numpy()), rel=1e-4
    )
    assert found["std"] == pytest.approx(0, abs=1e-6)


def test_kid_takes_subsets_of_a_thousand() -> None:
    found = kernel_distance(features(1200, 1), features(1100, 2, shift=0.1))
    assert (found["subset_size"], found["subsets"]) == (1000, 100)
    assert found["std"] > 0


def test_the_inception_score_is_its_definition() -> None:
    logits = features(100, 3, size=12) * 3
    # torch-fidelity shuffles with this seed before it splits.
    rows = logits.double().numpy()[np.random.RandomState(2020).permutation(100)]
    scores = []
    for split in np.split(rows, 10):
        p = np.exp(split) / np.exp(split).sum(1, keepdims=True)
        scores.append(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))
    found = inception_score(logits)
    assert found["value"] == pytest.approx(np.mean(scores), rel=1e-9)
    assert found["std"] == pytest.approx(np.std(scores), rel=1e-9)
