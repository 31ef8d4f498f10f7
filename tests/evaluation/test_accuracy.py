"""Accuracy: a hand count, the share within each class, and refusals by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.data.shards.reader import read_labels
from pipeline.errors import UserError
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from pipeline.images.pictures import from_uint8, to_uint8
from pipeline.storage.snapshots import open_snapshot
from tests.evaluation.worlds import SmoothSampler, smooth_images, write_shards, write_toy_snapshot

COUNT, NAMES = 23, ("a", "b", "c")


class Telling(SmoothSampler):
    """Takes an image for one of three classes by its brightness."""

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images.double().flatten(1).mean(dim=1)
        return -(brightness[:, None] - torch.tensor([-0.1, 0.0, 0.1])).abs()


def evaluated(folder: Path, sampler: type = Telling, classes: tuple[str, ...] = NAMES, **more) -> dict:
    index = write_shards(folder / "data", COUNT, classes=classes)
    write_toy_snapshot(folder / "run", 100, classes=NAMES)
    settings = Settings(("accuracy",), **more)
    job = EvaluationJob(index.root, settings, lambda opened: sampler(opened.spec), print)
    return job.evaluate(open_snapshot(folder / "run")).metrics["accuracy"]


@pytest.mark.parametrize("count", [None, 11])
def test_it_is_the_share_of_all_images_that_are_told_rightly(tmp_path, count):
    found = evaluated(tmp_path, **({} if count is None else {"count": count}))
    wanted = read_labels(write_shards(tmp_path / "same", COUNT, classes=NAMES))[:count]
    right: list[bool] = []
    for number, label in enumerate(wanted):
        brightness = float(from_uint8(to_uint8(smooth_images([number], 32, 3))).double().mean())
        right.append(label == (0 if brightness < -0.05 else 2 if brightness > 0.05 else 1))
    assert 0 < sum(right) < len(right)
    assert found["value"] == pytest.approx(sum(right) / len(right))
    assert found["count"] == len(right)
    for number, name in enumerate(NAMES):
        of_class = [hit for hit, label in zip(right, wanted, strict=True) if label == number]
        expected = {"value": sum(of_class) / max(len(of_class), 1), "count": len(of_class)}
        assert found["classes"].get(name, {"value": 0, "count": 0}) == expected


def test_what_tells_no_classes_or_has_none_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"--metrics accuracy: measures what classes .* tells none; leave"):
        evaluated(tmp_path, SmoothSampler)
    with pytest.raises(UserError, match=r"has no labels; --metrics accuracy needs them"):
        evaluated(tmp_path / "plain", classes=())
    index = write_shards(tmp_path / "other", COUNT, classes=NAMES)
    job = EvaluationJob(index.root, Settings(("accuracy",)), SmoothSampler, print)
    with pytest.raises(UserError, match=r"--metrics accuracy: .* is a data set; leave it out"):
        job.evaluate(write_shards(tmp_path / "set", COUNT, classes=NAMES))
