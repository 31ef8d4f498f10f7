"""Moments: equal to numpy's, however the samples are split and in whatever order parts are merged."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.arithmetic.moments import FeatureMoments


def features(count: int, size: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator)
    return torch.randn(count, size, generator=generator) @ mixing + 3.0


def moments_of(part: torch.Tensor) -> FeatureMoments:
    moments = FeatureMoments(part.shape[1])
    moments.add(part)
    return moments


def merged(parts: list[FeatureMoments]) -> FeatureMoments:
    def add(first: FeatureMoments, second: FeatureMoments) -> FeatureMoments:
        first.merge(second)
        return first

    return reduce(add, parts, FeatureMoments(parts[0].total.shape[0]))


def test_the_gaussian_is_numpys() -> None:
    samples = features(100)
    gaussian = moments_of(samples).gaussian()
    np.testing.assert_allclose(gaussian.mean, samples.double().numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(
        gaussian.covariance, np.cov(samples.double().numpy(), rowvar=False), rtol=1e-11
    )


@given(st.data())
def test_any_split_in_any_order_gives_the_same(data: st.DataObject) -> None:
    samples = features(60)
    cuts = data.draw(st.lists(st.integers(0, 60), max_size=6))
    edges = [0, *sorted(cuts), 60]
    parts = [moments_of(samples[a:b]) for a, b in pairwise(edges)]
    order = data.draw(st.permutations(range(len(parts))))
    whole, pieces = moments_of(samples), merged([parts[i] for i in order])
    assert pieces.count == whole.count
    torch.testing.assert_close(pieces.gaussian().mean, whole.gaussian().mean, rtol=1e-14, atol=0)
    torch.testing.assert_close(
        pieces.gaussian().covariance, whole.gaussian().covariance, rtol=1e-10, atol=1e-12
    )


def test_merging_is_associative() -> None:
    samples = features(90)
    a, b, c = (samples[i : i + 30] for i in (0, 30, 60))
    left = merged([merged([moments_of(a), moments_of(b)]), moments_of(c)])
    right = merged([moments_of(a), merged([moments_of(b), moments_of(c)])])
    torch.testing.assert_close(left.outer, right.outer, rtol=1e-14, atol=0)


def test_float32_features_far_from_zero_lose_nothing() -> None:
    samples = features(200) + 1000
    expected = np.cov(samples.double().numpy(), rowvar=False)
    np.testing.assert_allclose(moments_of(samples).gaussian().covariance, expected, rtol=1e-7)


def test_storage_gives_back_the_same() -> None:
    moments = moments_of(features(9))
    again = FeatureMoments.from_tensors(moments.tensors())
    assert again.count == 9
    assert torch.equal(again.gaussian().covariance, moments.gaussian().covariance)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2 samples, not 1"):
        moments_of(features(1)).gaussian()


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="features of size 4, expected 6"):
        moments_of(features(3)).merge(FeatureMoments(4))
