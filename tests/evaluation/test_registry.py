"""Every metric as a value: what decides its figure, how small images may be, how people are told of it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.measure import how_measured
from pipeline.evaluation.metrics.by_features import FeatureMetric
from pipeline.evaluation.metrics.registry import (
    METRICS,
    MOVED_BY,
    PARTS,
    about,
    counts_help,
    extractors_of,
    names_help,
)
from pipeline.evaluation.plan import check_settings, check_size
from pipeline.evaluation.settings import Asked, PathSettings, Settings
from tests.evaluation.worlds import CoarseExtractor
from tests.small_run import ROOT

LOWER, HIGHER, NEAR = "lower is better", "higher is better", "best near the reals"
BY = {"extractor": "c" * 64, "extractor_name": "coarse", "resize": "means of squares to 4"}
SETS = {"data": "d", "seeds": 1}
OWN = "tests.evaluation.worlds:CoarseExtractor"
# By metric: which way is better, the least side, and what decides its figure.
KNOWN: dict[str, tuple[str, int, dict[str, Any]]] = {
    "fid": (LOWER, 1, {**SETS, **BY, "count": 50_000}),
    "kid": (LOWER, 1, {**SETS, **BY, "count": 50_000}),
    "is": (HIGHER, 1, {**SETS, **BY, "count": 50_000}),
    "pr": (HIGHER, 1, {**SETS, **BY, "count": 50_000}),
    "dc": (HIGHER, 1, {**SETS, **BY, "count": 50_000}),
    "cmmd": (LOWER, 1, {**SETS, **BY, "count": 50_000}),
    "ppl-z": (LOWER, 16, {"seeds": 1, "count": 50_000, "sampling": "end", "crop": False}),
    "ppl-w": (LOWER, 16, {"seeds": 1, "count": 50_000, "sampling": "end", "crop": False}),
    "eqt": (HIGHER, 16, {"seeds": 1, "count": 50_000}),
    "eqt_frac": (HIGHER, 16, {"seeds": 1, "count": 50_000}),
    "eqr": (HIGHER, 16, {"seeds": 1, "count": 50_000}),
    "swd": (LOWER, 16, {**SETS, "count": 1797, "seed": 0}),
    "msssim": (NEAR, 11, {**SETS, "count": 2000}),
    "class_accuracy": (HIGHER, 1, {**SETS, "count": 10_000, "classifier": 1}),
    "psnr": (HIGHER, 1, {**SETS, "count": 1797}),
    "rlpips": (LOWER, 16, {**SETS, "count": 1797}),
    "rfid": (LOWER, 1, {**SETS, **BY, "count": 1797}),
    "rswd": (LOWER, 16, {**SETS, "count": 1797, "seed": 0}),
    "elbo": (HIGHER, 1, {**SETS, "count": 1797}),
    "bits_per_dim": (LOWER, 1, {**SETS, "count": 1797}),
    "accuracy": (HIGHER, 1, {**SETS, "count": 1797}),
    "convergence": (LOWER, 1, {"seeds": 1, "count": 0}),
}

OF_REALS = [
    name for name, metric in METRICS.items() if metric.reconstructs or metric.rates or metric.classifies
]
"""The metrics of which there are never more images than reals."""


def identity(name: str, settings: Settings, stored: int | None = None) -> dict[str, Any]:
    extractors = dict.fromkeys(extractors_of(settings), CoarseExtractor(torch.device("cpu")))
    found = how_measured(METRICS[name], Asked(settings, 1797, stored), "d", extractors)
    found.pop("perceptual", None)
    return found


def drawn(name: str, asked: int) -> int:
    """Of so many that are asked for: whole pairs, and none where none are needed."""
    return {"msssim": asked - asked % 2, "convergence": 0}.get(name, asked)


@pytest.mark.parametrize("name", METRICS)
def test_what_decides_a_figure(name: str) -> None:
    settings = Settings((name,), extractor=ExtractorChoice(OWN))
    assert identity(name, settings) == KNOWN[name][2]
    most = {"convergence": 0, "msssim": 2000, "swd": 1797, **dict.fromkeys(OF_REALS, 1797)}
    assert identity(name, settings, stored=60_000)["count"] == most.get(name, 60_000)
    assert identity(name, settings, stored=901)["count"] == drawn(name, 901)
    several = Settings((name,), count=11, seeds=3, extractor=ExtractorChoice(OWN))
    expected = {"count": drawn(name, 11), "seeds": 3, "seed_bits": 64}
    assert identity(name, several) == {**KNOWN[name][2], **expected}


def test_what_else_moves_a_figure_is_part_of_it() -> None:
    assert identity("swd", Settings(("swd",), seed=7))["seed"] == 7
    paths = Settings(("ppl-w",), paths=PathSettings("full", crop=True))
    assert (identity("ppl-w", paths)["sampling"], identity("ppl-w", paths)["crop"]) == ("full", True)
    within = Settings(("fid", "kid"), per_class=True)
    assert identity("fid", within)["per_class"] is True
    assert "per_class" not in identity("kid", within)
    assert {"extractor", "resize", "sampling", "crop", "perceptual", "seed"} <= set(MOVED_BY)


@pytest.mark.parametrize("name", METRICS)
def test_the_smallest_images(name: str) -> None:
    least = KNOWN[name][1]
    check_size(Settings((name,)), ImageSpec(least, least + 5, 3), "data")
    if least > 1:
        message = f"data: images of {least - 1} pixels; {name} needs at least {least}"
        with pytest.raises(UserError, match=message):
            check_size(Settings((name,)), ImageSpec(2 * least, least - 1, 3), "data")


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_whole(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert metric.title
    assert metric.shown.better == about(f"{name}-own").better == KNOWN[name][0]
    assert len(metric.shown.heads) == len(metric.shown.parts)
    assert set(metric.moved_by) <= {*identity(name, Settings((name,))), "perceptual"}
    more = metric.generator or metric.labels or name in OF_REALS
    assert metric.plain == (not metric.weights and not more)
    assert bool(metric.weights) == (isinstance(metric, FeatureMetric) or name in ("ppl-z", "ppl-w", "rlpips"))
    assert isinstance(metric, FeatureMetric) == (metric.extractor_in(Settings((name,))) is not None)


def test_figures_within_classes_are_asked_of_those_that_have_them() -> None:
    with pytest.raises(UserError, match="--per-class: computes fid within each class; add fid to --metrics"):
        check_settings(Settings(("swd",), per_class=True), True, "data")
    with pytest.raises(
        UserError, match="--per-class: needs a conditional model and labelled data; data has no labels or"
    ):
        check_settings(Settings(("fid",), per_class=True), False, "data")
    check_settings(Settings(("fid", "swd"), per_class=True), True, "data")


def test_how_people_are_told() -> None:
    assert about("kid").heads == ("KID x1000",)
    assert about("pr-inception").heads == ("precision", "recall")
    assert PARTS == ("precision", "recall", "density", "coverage")
    assert about("fid").reals({}) == "; the reals themselves: 0"
    assert about("swd").reals({}) == about("msssim").reals({}) == about("is").reals({}) == ""


def test_help_names_each_once() -> None:
    for name in METRICS:
        assert re.findall(r"[\w-]+", names_help()).count(name) == 1
        assert re.findall(r"[\w-]+", counts_help()).count(name) == 1
    assert "8,192 for swd, 2,000 for msssim" in counts_help()
    assert "fid,kid,is" in counts_help()
    assert "ppl-z,ppl-w (VGG16 and LPIPS weights), eqt,eqt_frac,eqr (a generator whose" in names_help()
    assert "moved), swd,msssim, class_accuracy (classes of" in names_help()


def test_names_are_known_without_torch() -> None:
    """`hrgan runs` and help answer at once."""
    code = "import sys, launch.main; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
