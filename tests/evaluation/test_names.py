"""A figure has the name of what it is: by which features, and which way is better."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.evaluation.names import METRICS, STANDARD_EXTRACTORS, base_of, better, by_name, name_of
from pipeline.evaluation.results import read_result


def test_other_features_than_a_metrics_own_have_names_of_their_own() -> None:
    assert name_of("fid", "inception") == "fid"
    assert name_of("pr", "vgg16") == "pr"
    assert name_of("pr", "inception") == "pr-inception"
    assert name_of("fid", "vgg16") == "fid-vgg16"
    for metric in STANDARD_EXTRACTORS:
        assert base_of(name_of(metric, "dinov2")) == metric


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


def test_which_way_is_better() -> None:
    assert {name: better(name) for name in METRICS} == {
        "fid": "lower is better",
        "kid": "lower is better",
        "is": "higher is better",
        "pr": "higher is better",
        "dc": "higher is better",
        "ppl-z": "lower is better",
        "ppl-w": "lower is better",
        "swd": "lower is better",
        "msssim": "best near the reals",
    }
    assert better("pr-inception") == "higher is better"
