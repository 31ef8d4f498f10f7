"""Which metrics, how many images, what to gather; and what a person may get wrong."""

from __future__ import annotations

import pytest

from pipeline.errors import UserError
from pipeline.evaluation.plan import (
    Extraction,
    Needs,
    Settings,
    check_count,
    fake_needs,
    parse_metrics,
    real_needs,
)
from pipeline.evaluation.weights import ExtractorChoice


def test_names_are_read_in_any_order_once() -> None:
    assert parse_metrics("swd, FID,swd") == ("fid", "swd")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "fdi",
            "unknown metric 'fdi'; allowed: fid, kid, is, pr, dc, .*, swd, msssim; did you mean fid?",
        ),
        ("swd,ms-ssim", "unknown metric 'ms-ssim'; .*; did you mean msssim?"),
        ("", "unknown metric ''; allowed: fid"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        parse_metrics(words)


def test_standard_counts() -> None:
    fakes = fake_needs(Settings(("fid", "swd", "msssim")), reals=70_000)
    assert fakes == Needs({"inception": Extraction(50_000, moments=True)}, swd=8192, similarity=2000)
    reals = real_needs(Settings(("fid", "swd", "msssim")), reals=70_000)
    assert reals == Needs({"inception": Extraction(70_000, moments=True)}, swd=8192, similarity=2000)


def test_swd_takes_no_more_than_there_are_reals() -> None:
    settings = Settings(("kid", "is", "swd", "msssim"), count=5001)
    fakes, reals = Extraction(5001, features=True, logits=True), Extraction(1797, features=True)
    assert fake_needs(settings, 1797) == Needs({"inception": fakes}, swd=1797, similarity=5000)
    assert real_needs(settings, 1797) == Needs({"inception": reals}, swd=1797, similarity=1796)


def test_the_inception_score_needs_no_reals() -> None:
    assert real_needs(Settings(("is",)), 1000) == Needs()


def test_each_metric_looks_at_its_own_features_unless_told() -> None:
    metrics = ("fid", "is", "pr", "dc")
    by_standard = {
        "inception": Extraction(50_000, moments=True, logits=True),
        "vgg16": Extraction(50_000, features=True),
    }
    assert fake_needs(Settings(metrics), 100).extracted == by_standard
    told = Settings(metrics, extractor=ExtractorChoice("inception"))
    assert fake_needs(told, 100).extracted == {
        "inception": Extraction(50_000, moments=True, features=True, logits=True)
    }


def test_of_a_data_set_all_images_are_taken_and_of_both_sets_as_many_patches() -> None:
    settings = Settings(("fid", "swd", "msssim"))
    fakes, reals = fake_needs(settings, 5000, stored=901), real_needs(settings, 5000, stored=901)
    assert (fakes.extracted["inception"].images, reals.extracted["inception"].images) == (901, 5000)
    assert (fakes.swd, reals.swd) == (901, 901)
    assert (fakes.similarity, reals.similarity) == (900, 900)


def test_too_few() -> None:
    with pytest.raises(UserError, match="--count 9: must be at least 10"):
        check_count(9, 1000, "data")
    with pytest.raises(UserError, match="data: holds 3 images; evaluation needs at least 10"):
        check_count(None, 3, "data")
