"""The measure of order by class, against pairs that are counted one by one."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.preparing.mixing import WINDOW, Mixing
from pipeline.data.streaming import lanes


def _mixing(shards: list[np.ndarray]) -> Mixing:
    mixing = Mixing()
    for labels in shards:
        mixing.add(labels.astype("S"))
    return mixing


def test_its_window_is_the_loaders() -> None:
    assert WINDOW == lanes.WINDOW


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=4))
def test_shares_are_those_of_pairs_counted_one_by_one(shards: list[list[int]]) -> None:
    mixing = _mixing([np.array(shard) for shard in shards])
    every = list(itertools.combinations([label for shard in shards for label in shard], 2))
    inside = [pair for shard in shards for pair in itertools.combinations(shard, 2)]
    assert mixing.by_chance == pytest.approx(sum(a == b for a, b in every) / max(len(every), 1))
    assert mixing.together == pytest.approx(
        sum(a == b for a, b in inside) / len(inside) if inside else mixing.by_chance
    )
    assert mixing.counts == Counter(str(label) for shard in shards for label in shard)


def test_windows_are_apart() -> None:
    mixing = _mixing([np.repeat([0, 1], WINDOW)])
    assert mixing.together == 1
    assert mixing.by_chance == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("size", [7, 100, 5000])
def test_shuffled_sets_are_never_taken_for_sorted(classes: int, size: int) -> None:
    rng = np.random.default_rng(classes + size)
    for even in (True, False):
        chances = np.full(classes, 1.0) if even else 1 / np.arange(1, classes + 1)
        for _ in range(10):
            labels = rng.choice(classes, (8, size), p=chances / chances.sum())
            assert not _mixing(list(labels)).is_sorted


@pytest.mark.parametrize(
    ("classes", "in_a_window", "is_sorted"),
    [
        (10, 1, True),
        (10, 2, True),
        (10, 5, True),
        (10, 10, False),
        (1000, 1, True),
        (1000, 8, True),
        (1000, 40, False),
        (2, 1, True),
    ],
)
def test_a_set_whose_windows_hold_few_of_its_classes_is_sorted(
    classes: int, in_a_window: int, is_sorted: bool
) -> None:
    rng = np.random.default_rng(0)
    shards = [
        rng.choice(classes, in_a_window, replace=False)[rng.integers(in_a_window, size=1000)]
        for _ in range(50)
    ]
    assert _mixing(shards).is_sorted == is_sorted
