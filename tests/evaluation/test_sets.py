"""Sets of fakes: which images they are, and of which classes."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import pytest
import torch

from pipeline.data.shards.reader import read_labels
from pipeline.data.streaming.numbered import read_uint8
from pipeline.evaluation.fakes import classes_of
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.plan import SEED_STRIDE
from pipeline.evaluation.results import result_path
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.sources import DataSource, SnapshotSource
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot

GOLDEN = [0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0]


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


def test_the_class_of_a_seed_is_for_good() -> None:
    """Figures of conditional models stand on it: as drawn when the first were measured."""
    labels = [0, 0, 0, 1, 1, 2]
    assert classes_of(range(16), labels) == GOLDEN[0]
    assert classes_of(range(SEED_STRIDE, SEED_STRIDE + 8), labels) == GOLDEN[1]


def test_what_is_drawn_has_the_classes_that_figures_are_told(tmp_path: Path) -> None:
    """Of every set, also of a later one and of a part: what the sampler is asked for is what `classes_here`
    says."""
    reals = write_shards(tmp_path / "data", 24, classes=("a", "b", "c"))
    snapshot = write_toy_snapshot(tmp_path / "run", 8, classes=("a", "b", "c"))
    labels = read_labels(reals)
    for number in range(2):
        sampler = SmoothSampler(reals.spec)
        source = SnapshotSource(snapshot, lambda _, sampler=sampler: sampler)
        with source.opened(number, labels) as images:
            for places in (range(7), range(7, 20)):
                images(places)
        seeds = range(number * SEED_STRIDE, number * SEED_STRIDE + 20)
        told = source.classes_here(number, 20, labels)
        assert sampler.drawn == list(zip(seeds, told or [], strict=True))
        assert told == classes_of(seeds, labels)
    assert source.classes_here(0, 20, labels) != source.classes_here(1, 20, labels)
    assert source.classes_here(0, 20, None) is None


def test_of_a_stored_set_classes_are_those_of_its_images_in_the_order_they_are_looked_at(
    tmp_path: Path,
) -> None:
    """Also where images go by their place and are mixed."""
    reals = write_shards(tmp_path / "data", 24, classes=("a", "b", "c"))
    stored = write_shards(tmp_path / "set", 21, classes=("a", "b", "c"))
    in_turn = {"made_by": "generate", "classes": ["a", "b"]}
    for index in (stored, replace(stored, origin=in_turn)):
        source = DataSource(index, reals)
        pictures = torch.cat([images for images, _, _ in read_uint8(stored)])
        with source.opened(0, None) as images:
            seen = images(range(21))
        places = [int((pictures == one).flatten(1).all(1).nonzero()[0]) for one in seen]
        assert (places == list(range(21))) == (index is stored)
        assert source.classes_here(0, 21, None) == [read_labels(stored)[place] for place in places]
    assert DataSource(write_shards(tmp_path / "plain", 12), reals).classes_here(0, 12, None) is None
