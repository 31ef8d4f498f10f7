"""While commands wait for something long, they say for what."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from launch.main import main
from pipeline import words
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming import workers
from pipeline.data.streaming.chunks import Decoder
from pipeline.evaluation.job import EvaluationJob
from pipeline.training.trainer import Trainer
from tests.small_run import write_config


def slowly(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, seconds: float, calls: int = 1) -> None:
    """Makes the first calls of a method take so long."""
    does, left = getattr(owner, name), [seconds] * calls

    def late(self: Any, *given: Any, **named: Any) -> Any:
        time.sleep(left.pop() if left else 0)
        return does(self, *given, **named)

    monkeypatch.setattr(owner, name, late)


def test_a_training_that_waits_says_for_what(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the index, for the loader's first images, for the first step; and nothing once it runs."""
    for module in (words, workers):
        monkeypatch.setattr(module, "SILENCE_SECONDS", 0.2)
    slowly(monkeypatch, ShardIndex, "check_sizes", 0.5)
    slowly(monkeypatch, Decoder, "fill", 0.7, calls=3)  # the first for a picture of the reals
    slowly(monkeypatch, Trainer, "_share", 0.5)
    config = write_config(tmp_path / "c.yaml", home / "shards", family={"minibatch_stddev_group": 1})
    assert main(["train", str(config), "length.images=16", "--run", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    for what in (
        "hrgan: reading the index and the sizes of the shards: 0 s so far",
        "hrgan: waiting for the first images: 0 s so far",
        "hrgan: the first step: 0 s so far",
    ):
        assert what in said
    assert re.search(r"hrgan: waiting for images: nothing from hrgan-loader-0 for \d s", said)


def test_a_quick_training_says_nothing_of_waiting(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "c.yaml", home / "shards", family={"minibatch_stddev_group": 1})
    assert main(["train", str(config), "length.images=16", "--run", str(tmp_path / "run")]) == 0
    assert "so far" not in capsys.readouterr().err


def test_an_evaluation_and_a_generation_say_what_they_do(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = write_config(tmp_path / "c.yaml", home / "shards", family={"minibatch_stddev_group": 1})
    assert main(["train", str(config), "length.images=8", "--run", str(run)]) == 0
    monkeypatch.setattr(words, "SILENCE_SECONDS", 0.1)
    slowly(monkeypatch, EvaluationJob, "_reals", 0.3)
    given = ["--data", str(home / "shards"), "--metrics", "swd", "--count", "10", "--device", "cpu"]
    assert main(["evaluate", str(run), *given]) == 0
    assert re.search(r"hrgan: measuring swd of \S+/snapshots/\d+: 0 s so far", capsys.readouterr().err)
    monkeypatch.setattr("pipeline.generation.generate.full_float32", lambda: time.sleep(0.3))
    assert main(["generate", str(run), str(tmp_path / "made"), "--count", "4"]) == 0
    assert "hrgan: making 4 images: 0 s so far" in capsys.readouterr().err
