"""FID, KID, IS, precision and recall of a whole job against torch-fidelity's on the same images.

One test, because Inception is slow on a CPU and test processes share no fixtures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data.index import ShardIndex
from pipeline.data.stream import read_uint8
from pipeline.evaluation import comparison, reference
from pipeline.evaluation.job import EvaluationJob, draw_fakes
from pipeline.evaluation.plan import Settings
from pipeline.evaluation.weights import InceptionWeights
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot

COUNT, REALS = 12, 15
ROUGH = 0.15  # the fakes' noise; the reals' is 0.1
METRICS = ("fid", "kid", "is", "pr")


def job(root: Path, inception: InceptionWeights) -> EvaluationJob:
    settings = Settings(METRICS, count=COUNT, batch_size=6, inception=inception)
    return EvaluationJob(root / "data", settings, lambda s: SmoothSampler(s.spec, ROUGH), print)


def torch_fidelitys(index: ShardIndex, inception: InceptionWeights) -> Mapping[str, float]:
    reals = torch.cat([images for images, _, _ in read_uint8(index)])
    fakes = draw_fakes(SmoothSampler(index.spec, ROUGH), range(COUNT))
    assert inception.path is not None
    return comparison.torch_fidelitys(fakes, reals, inception.path, subset_size=COUNT, batch_size=6)


def check_figures(ours: dict[str, Any], theirs: Mapping[str, float]) -> None:
    assert ours["fid"]["value"] > 0.1
    assert ours["is"]["value"] > 1.0001
    for name, expected in theirs.items():
        metric, key = name.split(".")
        # 12 samples in 2,048 dimensions: theirs adds up the roots of 2,000 eigenvalues that are rounding.
        tolerance = 1e-5 if metric == "fid" else 1e-6
        assert ours[metric][key] == pytest.approx(expected, rel=tolerance, abs=1e-9), name


def check_record(ours: dict[str, Any], inception: InceptionWeights) -> None:
    for metric in METRICS:
        assert ours[metric]["count"] == COUNT
        assert ours[metric]["extractor"] == inception.sha256
        assert len(ours[metric]["data"]) == 64
    assert ours["fid"]["reals"] == REALS
    assert ours["kid"]["subset_size"] == COUNT


@pytest.mark.slow
def test_a_job_measures_what_torch_fidelity_measures(
    tmp_path: Path, inception: InceptionWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write_shards(tmp_path / "data", REALS, channels=1, rough=0.1)
    job(tmp_path, inception).evaluate(write_toy_snapshot(tmp_path / "run", 64, channels=1))
    ours = json.loads((tmp_path / "run/metrics/000000000064.json").read_text())["metrics"]
    check_figures(ours, torch_fidelitys(index, inception))
    check_record(ours, inception)
    # The next snapshot finds the reals' statistics on disk, and the same fakes have the same figures.
    monkeypatch.setattr(reference, "UnflippedReader", lambda *_: pytest.fail("looked at the reals"))
    again = job(tmp_path, inception).evaluate(write_toy_snapshot(tmp_path / "run", 128, channels=1))
    assert again is not None
    assert again.metrics == ours
