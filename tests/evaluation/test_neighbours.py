"""Precision and recall, density and coverage, against their definitions and torch-fidelity's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from pipeline.evaluation.arithmetic import neighbours
from pipeline.evaluation.arithmetic.neighbours import (
    Meeting,
    density_coverage,
    meet,
    neighbour_distances,
    precision_recall,
)
from pipeline.evaluation.peers import Alone


def features(count: int, seed: int, shift: float = 0.0, size: int = 3) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + shift


def met(fakes: torch.Tensor, reals: torch.Tensor) -> Meeting:
    around = [neighbour_distances(points, Alone()) for points in (fakes, reals)]
    meeting = meet(fakes, reals, *around, Alone())
    assert meeting is not None
    return meeting


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, None] - y[None], axis=2)


def radii(points: np.ndarray, neighbour: int) -> np.ndarray:
    return np.sort(distances(points, points), axis=1)[:, neighbour]


def covered(points: np.ndarray, centres: np.ndarray) -> float:
    """How many points lie in a ball around a centre that reaches to the centre's third neighbour."""
    return float((distances(points, centres) <= radii(centres, 3)).any(axis=1).mean())


@pytest.fixture(params=[(1000, 10_000), (32, 17)], ids=["one tile", "many tiles"])
def _tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TILE_ROWS", request.param[0])
    monkeypatch.setattr(neighbours, "TILE_COLUMNS", request.param[1])


@pytest.mark.usefixtures("_tiles")
def test_all_are_their_definitions() -> None:
    fakes, reals = features(80, 4, shift=0.8), features(90, 5)
    x, y = fakes.numpy(), reals.numpy()
    meeting = met(fakes, reals)
    found = {**precision_recall(meeting), **density_coverage(meeting)}
    assert 0 < found["precision"] < 1
    assert found["precision"] == pytest.approx(covered(x, y), abs=1e-9)
    assert found["recall"] == pytest.approx(covered(y, x), abs=1e-9)
    inside = distances(x, y) < radii(y, 5)
    assert found["density"] == pytest.approx(inside.sum() / (5 * 80), abs=1e-9)
    assert found["coverage"] == pytest.approx(inside.any(axis=0).mean(), abs=1e-9)
    assert 0 < found["coverage"] < 1


@pytest.mark.usefixtures("_tiles")
def test_the_nearest_are_numpys() -> None:
    points = features(70, 1)
    expected = np.sort(distances(points.numpy(), points.numpy()), axis=1)[:, 1:6]
    np.testing.assert_allclose(neighbour_distances(points, Alone()), expected, atol=1e-5)


def test_precision_and_recall_are_torch_fidelitys() -> None:
    fakes, reals = features(300, 6, shift=0.2, size=16), features(260, 7, size=16)
    found = precision_recall(met(fakes, reals))
    theirs = prc_features_to_metric(fakes, reals, prc_neighborhood=3, save_cpu_ram=True, verbose=False)
    for key in ("precision", "recall"):
        assert found[key] == pytest.approx(theirs[key], abs=1e-7)
    assert found["value"] == pytest.approx(theirs["f_score"], abs=1e-7)


def test_the_same_distribution_has_density_one_and_high_coverage() -> None:
    """Naeem et al. 2020, section 3.2: E[density] = 1 and E[coverage] is near 1 - 2^-5."""
    found = density_coverage(met(features(2000, 1), features(2000, 2)))
    assert found["density"] == pytest.approx(1, abs=0.05)
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)


def test_outliers_among_the_reals_raise_precision_and_hardly_coverage() -> None:
    """Fakes far from all but four reals: the wide balls of these hold every fake."""
    reals, fakes = features(500, 1, size=2), features(500, 2, shift=12.0, size=2)
    outliers = torch.tensor([[11.0, 11.0], [60.0, 60.0], [0.0, 60.0], [60.0, 0.0]])
    meeting = met(fakes, torch.cat([reals, outliers]))
    found = density_coverage(meeting)
    assert precision_recall(meeting)["precision"] > 0.99
    assert found["coverage"] == pytest.approx(4 / 504)
    assert found["density"] == pytest.approx(4 / 5)  # each fake lies in four balls, of the five expected
