"""Boxes of scenes and what is drawn in them, beside means and an untrained model."""

from __future__ import annotations

import pytest
import torch

from pipeline.contracts import Batch
from tests.scenes import drawing, portraits
from tests.tiny_families import PLAIN, tiny_family
from tests.tiny_snapshot import snapshot_of
from tools.scene_boxes import main, mean_boxes, measure, over_objects, within


def test_the_mean_box_of_each_kind_is_that_of_its_objects_alone():
    objects = torch.tensor([[1, 2], [1, 0]], dtype=torch.int16)
    boxes = torch.tensor([[[0.0, 0, 1, 1], [0, 0, 0.5, 0.5]], [[0.5, 0, 1, 1], [9, 9, 9, 9]]])
    got = mean_boxes(objects, boxes, torch.tensor([[2, 1], [3, 0]], dtype=torch.int16))
    torch.testing.assert_close(got[0], torch.tensor([[0, 0, 0.5, 0.5], [0.25, 0, 1, 1]]))
    torch.testing.assert_close(got[1, 0], torch.tensor([0.5 / 3, 0, 2.5 / 3, 2.5 / 3]))  # unknown: of all


def test_places_without_an_object_do_not_count():
    objects = torch.tensor([[4, 0], [7, 1]])
    assert over_objects(torch.tensor([[1.0, 50], [2, 3]]), objects) == 2


def test_images_are_compared_within_boxes_alone():
    images = torch.zeros(1, 3, 32, 32)
    others = images.clone()
    others[:, :, :, 16:] = 0.5  # the right half
    boxes = torch.tensor([[[0.0, 0, 0.45, 1], [0.55, 0, 1, 1], [0, 0, 0, 0]]])
    for code, expected in ((0, 0.5), (1, 0.25)):
        given = Batch(images, None, {"objects": torch.tensor([[code, 2, 0]]), "boxes": boxes})
        assert within(images, others, given) == pytest.approx(expected)


def test_a_run_is_measured(tmp_path, capsys):
    shards = portraits(tmp_path / "shards", 8)
    snapshot = snapshot_of(drawing(shards.spec), tmp_path / "run")
    found = measure(snapshot.folder, str(shards.root), device="cpu")
    assert found.boxes < 0.1  # seeded weights have learnt nothing
    assert found.boxes_mean > 0.2
    assert found.error > 0.3
    assert found.error_mean < 0.15
    assert 0 < found.drawn_mean < 0.5
    chance = snapshot_of(tiny_family("mlp", PLAIN), tmp_path / "chance")
    assert main([str(chance.folder), "--data", str(shards.root)]) == 2
    assert "this model draws no scene graphs" in capsys.readouterr().err


def test_what_is_no_run_is_a_line(tmp_path, capsys):
    assert main([str(tmp_path), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("hrgan: error: ")
