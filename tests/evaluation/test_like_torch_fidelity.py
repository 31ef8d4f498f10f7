"""FID, KID, IS, precision and recall of a whole job against what torch-fidelity's own command says, by its
defaults, of the same images.

One test, because the networks are slow on a CPU and test processes share no fixtures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import read_uint8
from pipeline.evaluation import reference
from pipeline.evaluation.comparison import torch_fidelitys, write_weights
from pipeline.evaluation.fakes import draw_fakes
from pipeline.evaluation.features.weights import InceptionWeights, PerceptualWeights
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import PathSettings, Settings
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot

COUNT, REALS = 12, 11
ROUGH = 0.15  # the fakes' noise; the reals' is 0.1
METRICS = ("fid", "kid", "is", "pr", "dc")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def job(root: Path, inception: Path, vgg: Path, metrics: tuple[str, ...] = METRICS) -> EvaluationJob:
    settings = Settings(
        metrics,
        count=COUNT,
        batch_size=6,
        inception=InceptionWeights(inception, digest(inception)),
        paths=PathSettings(weights=PerceptualWeights(vgg=vgg, vgg_sha256=digest(vgg))),
    )
    return EvaluationJob(root / "data", settings, lambda s: SmoothSampler(s.spec, ROUGH), print)


def theirs(index: ShardIndex, home: Path) -> Mapping[str, float]:
    reals = torch.cat([images for images, _, _ in read_uint8(index)])
    fakes = draw_fakes(SmoothSampler(index.spec, ROUGH), range(COUNT))
    return torch_fidelitys(fakes, reals, home)


def check_figures(ours: dict[str, Any], theirs: Mapping[str, float]) -> None:
    assert ours["fid"]["value"] > 0.1
    assert ours["is"]["value"] > 1.0001
    assert 0 < ours["pr"]["precision"] < 1
    for name, expected in theirs.items():
        metric, key = name.split(".")
        # 12 samples in 2,048 dimensions: theirs adds up the roots of 2,000 eigenvalues that are rounding.
        tolerance = 1e-5 if metric == "fid" else 1e-6
        assert ours[metric][key] == pytest.approx(expected, rel=tolerance, abs=1e-9), name


def check_record(ours: dict[str, Any], inception: Path, vgg: Path) -> None:
    by = {"fid": inception, "kid": inception, "is": inception, "pr": vgg, "dc": vgg}
    assert set(ours) == set(METRICS)
    for metric, weights in by.items():
        assert ours[metric]["count"] == COUNT
        assert ours[metric]["extractor"] == digest(weights)
        assert len(ours[metric]["data"]) == 64
    assert ours["pr"]["extractor_name"] == "vgg16"
    assert ours["fid"]["reals"] == REALS
    assert ours["kid"]["subset_size"] == REALS


@pytest.mark.slow
def test_a_job_measures_what_torch_fidelity_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = write_shards(tmp_path / "data", REALS, channels=1, rough=0.1)
    weights = write_weights(tmp_path / "torch")
    job(tmp_path, *weights).evaluate(write_toy_snapshot(tmp_path / "run", 64, channels=1))
    ours = json.loads((tmp_path / "run/metrics/000000000064.json").read_text())["metrics"]
    check_figures(ours, theirs(index, tmp_path / "torch"))
    check_record(ours, *weights)
    # The next snapshot finds the reals' statistics on disk, and the same fakes have the same figures.
    monkeypatch.setattr(reference, "stored_images", lambda *_: pytest.fail("looked at the reals"))
    snapshot = write_toy_snapshot(tmp_path / "run", 128, channels=1)
    again = job(tmp_path, *weights, metrics=("fid", "kid")).evaluate(snapshot)
    assert again is not None
    assert again.metrics == {name: ours[name] for name in ("fid", "kid")}
