"""Sets of fakes: which images they are, and of which classes."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from statistics import stdev

import pytest

from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.plan import SEED_STRIDE, Settings
from pipeline.evaluation.results import result_path
from pipeline.evaluation.sources import classes_of
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot


def job(root: Path, *metrics: str, seeds: int = 1) -> EvaluationJob:
    sampler = SmoothSampler(write_shards(root / "data", 24).spec, rough=0.1)
    return EvaluationJob(root / "data", Settings(metrics, count=20, seeds=seeds), lambda _: sampler, print)


def test_classes_of_fakes_follow_the_frequencies_of_the_reals(tmp_path: Path) -> None:
    """Of n fakes as many as n p are of a class with share p, within five standard deviations, whatever the
    order of the labels; and each fake's class is a function of its seed."""
    shares = {0: 0.6, 1: 0.3, 3: 0.1}
    labels = [label for label, share in shares.items() for _ in range(round(share * 70))]
    count = 4000
    for order in (labels, labels[::-1]):
        drawn = classes_of(range(count), order)
        assert drawn is not None
        found = Counter(drawn)
        assert set(found) == set(shares)
        for label, share in shares.items():
            assert abs(found[label] - count * share) < 5 * math.sqrt(count * share * (1 - share))
        assert classes_of(range(37, 90), order) == drawn[37:90]
        # Neighbours' classes are independent: a pair of the first class comes as often as its square.
        pairs = sum(a == b == 0 for a, b in zip(drawn[::2], drawn[1::2], strict=True))
        assert abs(pairs - count / 2 * 0.36) < 5 * math.sqrt(count / 2 * 0.36 * 0.64)
        other_set = classes_of(range(SEED_STRIDE, SEED_STRIDE + count), order)
        assert other_set is not None
        same = sum(a == b for a, b in zip(drawn, other_set, strict=True)) / count
        assert same == pytest.approx(sum(share**2 for share in shares.values()), abs=0.05)
    assert classes_of(range(5), None) is None


def test_sets_of_fakes_are_other_images(tmp_path: Path) -> None:
    """Figures of three sets differ; what is told is their mean and their spread."""
    snapshot = write_toy_snapshot(tmp_path / "run", 8)
    found = job(tmp_path, "swd", "msssim", seeds=3).evaluate(snapshot)
    assert found is not None
    for name in ("swd", "msssim"):
        figures = found.metrics[name]
        assert len(set(figures["by_set"])) == 3
        assert figures["spread"] == pytest.approx(stdev(figures["by_set"]))
        assert figures["value"] == pytest.approx(sum(figures["by_set"]) / 3)


def test_figures_of_sets_that_were_one_are_measured_again(tmp_path: Path) -> None:
    """While seeds were cut to 32 bits, all sets were the same images."""
    snapshot = write_toy_snapshot(tmp_path / "run", 8)
    several = job(tmp_path, "msssim", seeds=2)
    several.evaluate(snapshot)
    single = EvaluationJob(
        tmp_path / "data", Settings(("swd",), count=20), lambda _: SmoothSampler(snapshot.spec), print
    )
    single.evaluate(snapshot)
    old = json.loads(result_path(snapshot).read_text())
    del old["metrics"]["msssim"]["seed_bits"]
    result_path(snapshot).write_text(json.dumps(old))
    assert several.missing(snapshot) == ("msssim",)
    assert single.missing(snapshot) == ()
