"""Which metrics, how many images, what to gather; and what a person may get wrong."""

from __future__ import annotations

import pytest

from pipeline.errors import UserError
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.metrics.by_features import (
    Features,
    KnownFeatures,
    KnownMoments,
    KnownNeighbours,
    Logits,
    Moments,
)
from pipeline.evaluation.metrics.msssim import Pairs, RealSimilarity
from pipeline.evaluation.metrics.needs import Needs, Rows, images_of
from pipeline.evaluation.metrics.registry import parse_metrics
from pipeline.evaluation.metrics.swd import Described, Floor, Patches
from pipeline.evaluation.plan import check_count, needs_of
from pipeline.evaluation.settings import Asked, Settings


def test_names_are_read_in_any_order_once() -> None:
    assert parse_metrics("swd, FID,swd") == ("fid", "swd")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "fdi",
            "unknown metric 'fdi'; allowed: fid, kid, is, pr, dc, .*, swd, msssim.*; did you mean fid?",
        ),
        ("swd,ms-ssim", "unknown metric 'ms-ssim'; .*; did you mean msssim?"),
        ("", "unknown metric ''; allowed: fid"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        parse_metrics(words)


def needs(settings: Settings, reals: int, stored: int | None = None) -> Needs:
    return needs_of(settings.metrics, Asked(settings, reals, stored))


def test_standard_counts() -> None:
    found = needs(Settings(("fid", "swd", "msssim")), 70_000)
    patches, pairs = Patches(8192, 0), Pairs(2000)
    assert found.fakes == (Moments(Features("inception", 50_000)), Described(patches), Rows(pairs))
    assert found.facts == (KnownMoments(Features("inception", 70_000)), Floor(patches), RealSimilarity(pairs))
    assert found.reals == (Described(patches),)


def test_swd_takes_no_more_than_there_are_reals() -> None:
    found = needs(Settings(("kid", "is", "swd", "msssim"), count=5001, seed=3), 1797)
    kid, score = Features("inception", 5001), Logits("inception", 5001)
    patches = Patches(1797, 3)
    assert found.fakes == (Rows(kid), Rows(score), Described(patches), Rows(Pairs(5000)))
    assert found.facts == (
        KnownFeatures(Features("inception", 1797)),
        Floor(patches),
        RealSimilarity(Pairs(1796)),
    )


def test_the_inception_score_needs_no_reals() -> None:
    found = needs(Settings(("is",)), 1000)
    assert (found.facts, found.reals) == ((), ())


def test_each_metric_looks_at_its_own_features_unless_told() -> None:
    """What several take is gathered and known once, and neighbours come after the features they are among."""
    metrics = ("fid", "is", "pr", "dc")
    found = needs(Settings(metrics), 100)
    ours, theirs = Features("vgg16", 50_000), Features("vgg16", 100)
    inceptions = Moments(Features("inception", 50_000)), Rows(Logits("inception", 50_000))
    assert found.fakes == (*inceptions, Rows(ours))
    assert found.facts == (
        KnownMoments(Features("inception", 100)),
        KnownFeatures(theirs),
        KnownNeighbours(theirs),
    )
    told = needs(Settings(metrics, extractor=ExtractorChoice("inception")), 100)
    assert told.fakes == (*inceptions, Rows(Features("inception", 50_000)))


def test_of_a_data_set_all_images_are_taken_and_of_both_sets_as_many_patches() -> None:
    found = needs(Settings(("fid", "swd", "msssim")), 5000, stored=901)
    assert [statistic.view.images for statistic in found.fakes] == [901, 901, 900]
    assert images_of(found.fakes) == 901
    assert found.facts == (
        KnownMoments(Features("inception", 5000)),
        Floor(Patches(901, 0)),
        RealSimilarity(Pairs(900)),
    )


def test_too_few() -> None:
    with pytest.raises(UserError, match="--count 9: must be at least 10"):
        check_count(9, 1000, "data")
    with pytest.raises(UserError, match="data: holds 3 images; evaluation needs at least 10"):
        check_count(None, 3, "data")
