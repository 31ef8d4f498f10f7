"""What is gathered of a set is the same however its blocks are cut, begun again or shared by processes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.evaluation.arithmetic.moments import FeatureMoments
from pipeline.evaluation.arithmetic.swd import Descriptors
from pipeline.evaluation.metrics.by_features import Features, Logits, Moments
from pipeline.evaluation.metrics.class_accuracy import Small
from pipeline.evaluation.metrics.msssim import Pairs
from pipeline.evaluation.metrics.needs import Rows, Statistic
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.evaluation.metrics.swd import Described, Patches
from pipeline.evaluation.plan import needs_of
from pipeline.evaluation.settings import Asked, Settings
from pipeline.evaluation.statistics import Observer, Statistics, views_of
from pipeline.images.pictures import to_uint8
from tests.evaluation.worlds import CoarseExtractor, smooth_images

CPU = torch.device("cpu")
COUNT, SPEC = 26, ImageSpec(16, 16, 3)
IMAGES = to_uint8(smooth_images(range(COUNT), 16))
BY = {"coarse": CoarseExtractor(CPU)}
# Some of which want fewer images than there are.
STATISTICS: tuple[Statistic[Any], ...] = (
    Moments(Features("coarse", 26)),
    Rows(Features("coarse", 26)),
    Rows(Features("coarse", 9)),
    Rows(Logits("coarse", 21)),
    Rows(Pairs(12)),
    Described(Patches(11, 3)),
    Rows(Small(19)),
)


def gathered(cuts: list[int]) -> Statistics:
    """In blocks that begin at `cuts`, each looked at by another process."""
    found = Statistics(STATISTICS, SPEC)
    for first, last in zip([0, *cuts], [*cuts, COUNT], strict=True):
        found.add(Observer(STATISTICS, SPEC, BY, CPU).look(IMAGES[first:last], first))
    return found


def tensors(found: Statistics) -> list[Tensor]:
    values: list[Tensor] = []
    for statistic in STATISTICS:
        value = found.of(statistic)
        if isinstance(value, FeatureMoments):
            values += value.tensors().values()
        elif isinstance(value, Descriptors):
            values += [value.level(number) for number in range(len(value.sides))]
        else:
            values.append(value)
    return values


WHOLE = tensors(gathered([]))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, COUNT // 2 - 1)).map(lambda halves: sorted(2 * half for half in halves)))
def test_any_split_into_even_blocks_gathers_the_same(cuts: list[int]) -> None:
    for found, expected in zip(tensors(gathered(cuts)), WHOLE, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_no_more_images_enter_than_a_view_wants() -> None:
    sizes = [len(gathered([10, 20]).of(statistic)) for statistic in STATISTICS if isinstance(statistic, Rows)]
    assert sizes == [26, 9, 21, 6, 19]


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(COUNT)), st.integers(1, COUNT - 1))
def test_moments_merge_in_any_order(order: list[int], cut: int) -> None:
    features = BY["coarse"](IMAGES)[0]
    whole, first, second = (FeatureMoments(features.shape[1]) for _ in range(3))
    whole.add(features)
    first.add(features[order[:cut]])
    second.add(features[order[cut:]])
    second.merge(first)
    for one, other in zip(whole.tensors().values(), second.tensors().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-9)


def test_an_extractor_looks_once_at_a_block_however_many_ask() -> None:
    looks: list[int] = []

    class Counting(CoarseExtractor):
        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
            looks.append(len(images))
            return super().__call__(images)

    Observer(STATISTICS[:4], SPEC, {"coarse": Counting(CPU)}, CPU).look(IMAGES[:8], 4)
    assert looks == [8, 5]  # the third wants nine images alone; logits come with features
    looks.clear()
    alike = (Moments(Features("coarse", 26)), Rows(Features("coarse", 26)), Rows(Logits("coarse", 26)))
    Observer(alike, SPEC, {"coarse": Counting(CPU)}, CPU).look(IMAGES[:8], 4)
    assert looks == [8]
    assert len(views_of(alike)) == 2


@pytest.mark.parametrize("name", METRICS)
def test_what_metrics_take_is_added_up_whoever_comes_first(name: str) -> None:
    """Together they take what each takes, each thing once."""
    asked = Asked(Settings(tuple(METRICS), count=20), 24)
    alone, together = METRICS[name].needs(asked), needs_of(METRICS, asked)
    for part in ("fakes", "facts", "reals"):
        assert set(getattr(alone, part)) <= set(getattr(together, part))
        assert len(set(getattr(together, part))) == len(getattr(together, part))
    order = {fact: place for place, fact in enumerate(together.facts)}
    assert all(order[before] < order[fact] for fact in together.facts for before in fact.facts)
    assert math.isfinite(METRICS[name].count(asked))
