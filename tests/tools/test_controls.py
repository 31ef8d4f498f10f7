"""Samples of data that tools keep in memory, and what they have drawn of them."""

from __future__ import annotations

import pytest
import torch

from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.errors import UserError
from tests.scenes import drawing, portraits
from tests.tiny_families import seeded_networks
from tests.tiny_snapshot import snapshot_of
from tools import controls
from tools.controls import drawn, halves, read
from tools.scene_boxes import measure


def test_halves_have_nothing_in_common_and_no_more_than_is_asked_for():
    assert [list(half) for half in halves(7, 10, 10)] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [list(half) for half in halves(10**12, 2, 3)] == [[0, 2], [1, 3, 5]]


@pytest.mark.parametrize(
    ("asked", "said"), [((7, 0, 1), "--learn 0"), ((7, 1, 0), "--count 0"), ((1, 1, 1), "--data: 1 samples")]
)
def test_empty_halves_are_refused(asked, said):
    with pytest.raises(UserError, match=said):
        halves(*asked)


def test_blocks_draw_the_same_images(tmp_path, monkeypatch):
    index = portraits(tmp_path, 7)
    family = drawing(index.spec)
    sampler = family.sampler(seeded_networks(family).generator.eval())
    numbers = range(1, 6)
    given = read(NumberedSamples(index, family.needs.fields), numbers, torch.device("cpu"))
    whole = sampler.draw_given(given, numbers)
    monkeypatch.setattr(controls, "_BLOCK", 2)
    images, latents = drawn(sampler, given, numbers)
    torch.testing.assert_close(images, whole.images)
    torch.testing.assert_close(latents, whole.latents)


def test_no_more_is_read_than_is_asked_for(tmp_path, monkeypatch):
    index = portraits(tmp_path / "shards", 12)
    snapshot = snapshot_of(drawing(index.spec), tmp_path / "run")
    asked: list[int] = []
    batch = NumberedSamples.batch
    monkeypatch.setattr(NumberedSamples, "batch", lambda self, some: asked.extend(some) or batch(self, some))
    measure(snapshot.folder, str(index.root), count=2, learnt=3, device="cpu")
    assert sorted(asked) == [0, 1, 2, 3, 4]
