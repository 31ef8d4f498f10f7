"""A figure has the name of what it is: by which features, and which way is better."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.evaluation.metrics.by_features import FeatureMetric
from pipeline.evaluation.metrics.registry import METRICS, about, base_of, by_name, can_rank, name_of
from pipeline.evaluation.results import read_result


def test_other_features_than_a_metrics_own_have_names_of_their_own() -> None:
    assert name_of(METRICS["fid"], "inception") == "fid"
    assert name_of(METRICS["pr"], "vgg16") == "pr"
    assert name_of(METRICS["pr"], "inception") == "pr-inception"
    assert name_of(METRICS["fid"], "vgg16") == "fid-vgg16"
    assert name_of(METRICS["swd"], None) == "swd"
    for name, metric in METRICS.items():
        if isinstance(metric, FeatureMetric):
            assert base_of(name_of(metric, "dinov2")) == name


def test_precision_and_recall_of_before_are_inceptions(tmp_path: Path) -> None:
    old = {
        "fid": {"value": 2.0},
        "fid-dinov2": {"value": 9.0, "extractor_name": "dinov2"},
        "pr": {"value": 0.5, "extractor": "6726"},  # before results named the extractor
        "dc": {"value": 0.6, "extractor_name": "inception"},
        "swd": {"value": 3.0},
    }
    assert set(by_name(old)) == {"fid", "fid-dinov2", "pr-inception", "dc-inception", "swd"}
    path = tmp_path / "8.json"
    path.write_text(json.dumps({"images_seen": 8, "snapshot": "s", "metrics": old}))
    found = read_result(path)
    assert found is not None
    assert found.metrics["pr-inception"] == old["pr"]
    assert not found.holds("pr", {})


def test_what_a_later_version_has_measured_is_shown_by_its_name() -> None:
    assert about("vendi-dinov2").heads == ("vendi-dinov2",)
    assert about("vendi").parts == ("value",)
    assert not can_rank("vendi")
