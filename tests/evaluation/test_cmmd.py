"""CMMD: closed forms, the authors' formula in plain numpy, whatever the tiles, and in a whole job."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import read_uint8
from pipeline.evaluation import reference
from pipeline.evaluation.fakes import draw_fakes
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.metrics import cmmd
from pipeline.evaluation.metrics.cmmd import mean_kernel
from pipeline.evaluation.peers import Alone
from pipeline.evaluation.settings import Settings
from pipeline.randomness import seeded
from tests.evaluation.worlds import CoarseExtractor, SmoothSampler, write_shards, write_toy_snapshot


def discrepancy(first: Tensor, second: Tensor) -> float:
    means = [mean_kernel(*pair, Alone()) for pair in ((first, first), (second, second), (first, second))]
    xx, yy, xy = (float(mean) for mean in means if mean is not None)
    return 1000 * (xx + yy - 2 * xy)


def as_in_the_paper(first: Tensor, second: Tensor) -> float:
    """1000 MMD^2, biased, of all N^2 pairs at once, of rows of unit length."""
    x, y = (
        rows.double().numpy() / np.linalg.norm(rows.double().numpy(), axis=1)[:, None]
        for rows in (first, second)
    )

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        apart = ((a[:, None] - b[None]) ** 2).sum(2)
        return float(np.exp(-apart / (2 * 10**2)).mean())

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def rows(count: int, seed: int, shift: float = 0.0, size: int = 6) -> Tensor:
    return torch.randn(count, size, generator=seeded(seed)) + shift


def test_two_points_have_a_closed_form() -> None:
    """At right angles they are sqrt(2) apart; opposite ones 2."""
    axes = torch.eye(3)
    first, second = axes[:1].expand(4, -1), axes[1:2].expand(7, -1)
    assert discrepancy(first, second) == pytest.approx(2000 * -math.expm1(-2 / 200), rel=1e-12)
    assert discrepancy(first, -3 * first) == pytest.approx(2000 * -math.expm1(-4 / 200), rel=1e-12)
    # Half of one set at the other's point: means differ by half, so the square by a quarter.
    half = torch.cat([first, axes[1:2].expand(4, -1)])
    assert discrepancy(half, second) == pytest.approx(500 * -math.expm1(-2 / 200), rel=1e-12)


def test_it_is_the_papers_whatever_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = rows(43, 1), rows(29, 2, shift=0.4)
    expected = as_in_the_paper(first, second)
    assert expected > 0.1
    assert discrepancy(first, second) == pytest.approx(expected, rel=1e-9)
    for height, width in ((10, 7), (1, 29), (43, 1)):
        monkeypatch.setattr(cmmd, "ROWS", height)
        monkeypatch.setattr(cmmd, "COLUMNS", width)
        assert discrepancy(first, second) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31), st.floats(0.01, 100))
def test_it_is_a_squared_distance(count: int, others: int, seed: int, scale: float) -> None:
    """At least 0, 0 of a set to itself in any order, the same both ways, and blind to lengths."""
    first, second = rows(count, seed), rows(others, seed + 1)
    found = discrepancy(first, second)
    assert found > -1e-9
    assert discrepancy(second, first) == pytest.approx(found, abs=1e-9)
    assert discrepancy(first, scale * second) == pytest.approx(found, abs=1e-4)
    assert discrepancy(first, first.flip(0)) == pytest.approx(0, abs=1e-9)
    assert discrepancy(first, second) == pytest.approx(as_in_the_paper(first, second), abs=1e-9)


def test_an_embedding_of_zeros_is_no_number_less() -> None:
    assert math.isfinite(discrepancy(torch.zeros(2, 3), rows(3, 0, size=3)))


def test_a_job_measures_it_and_keeps_what_the_reals_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "data", 24)
    chosen = Settings(
        ("cmmd",), count=20, extractor=ExtractorChoice("tests.evaluation.worlds:CoarseExtractor")
    )

    def job() -> EvaluationJob:
        return EvaluationJob(tmp_path / "data", chosen, lambda s: SmoothSampler(s.spec, 0.2), print)

    found = job().evaluate(write_toy_snapshot(tmp_path / "run", 8))
    assert found is not None
    figures = found.metrics["cmmd-coarse"]
    assert (figures["count"], figures["reals"], figures["sigma"]) == (20, 24, 10)
    extractor = CoarseExtractor(torch.device("cpu"))
    index = ShardIndex.read(tmp_path / "data")
    reals = torch.cat([extractor(images)[0] for images, _, _ in read_uint8(index)])
    fakes = extractor(draw_fakes(SmoothSampler(index.spec, 0.2), range(20)))[0]
    assert figures["value"] == pytest.approx(as_in_the_paper(fakes, reals), rel=1e-6)
    kept = {path.name.split("-")[0] for path in (tmp_path / "data/statistics").glob("*.safetensors")}
    assert kept == {"features", "cmmd"}
    monkeypatch.setattr(reference, "stored_images", lambda *_: pytest.fail("looked at the reals"))
    monkeypatch.setattr(cmmd.AmongReals, "make", lambda *_: pytest.fail("measured the reals again"))
    again = job().evaluate(write_toy_snapshot(tmp_path / "run", 16))
    assert again is not None
    assert again.metrics["cmmd-coarse"] == figures
