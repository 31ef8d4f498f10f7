"""Which metrics, how many images, what to gather; and what a person may get wrong."""

from __future__ import annotations

import pytest

from pipeline.errors import UserError
from pipeline.evaluation.plan import Needs, Settings, check_count, fake_needs, parse_metrics, real_needs


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
    assert fakes == Needs(extracted=50_000, swd=8192, similarity=2000)
    reals = real_needs(Settings(("fid", "swd", "msssim")), reals=70_000)
    assert reals == Needs(extracted=70_000, swd=8192, similarity=2000)


def test_swd_takes_no_more_than_there_are_reals() -> None:
    settings = Settings(("kid", "is", "swd", "msssim"), count=5001)
    assert fake_needs(settings, 1797) == Needs(5001, features=True, logits=True, swd=1797, similarity=5000)
    assert real_needs(settings, 1797) == Needs(1797, features=True, swd=1797, similarity=1796)


def test_the_inception_score_needs_no_reals() -> None:
    assert real_needs(Settings(("is",)), 1000) == Needs()


def test_too_few() -> None:
    with pytest.raises(UserError, match="--count 9: must be at least 10"):
        check_count(9, 1000, "data")
    with pytest.raises(UserError, match="data: holds 3 images; evaluation needs at least 10"):
        check_count(None, 3, "data")
