"""Azimuths that are read off pictures: the measure, its turn, and a network that learns to read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from tests.exploration.conftest import write
from tools.research.poses import agreement, drawn_heads, learnt, main, measured

RGB = ImageSpec(16, 16, 3)


def test_a_turn_that_all_have_in_common_is_no_error():
    asked = torch.arange(-180.0, 180.0, 10)
    for turn in (0.0, 30.0, 179.0, -200.0):
        found = agreement(asked + turn, asked)
        assert (found.error, found.resultant) == (pytest.approx(0, abs=1e-4), pytest.approx(1))
    swinging = asked + 20 * (-1.0) ** torch.arange(len(asked))
    assert agreement(swinging, asked).error == pytest.approx(20, abs=1e-4)
    assert agreement(swinging, asked).resultant == pytest.approx(torch.tensor(20.0).deg2rad().cos().item())


def test_guesses_and_mirror_images_agree_with_nothing():
    asked = 360 * torch.rand(4000, generator=torch.Generator().manual_seed(0))
    guesses = 360 * torch.rand(4000, generator=torch.Generator().manual_seed(1))
    for found in (guesses, -asked):
        assert agreement(found, asked).error == pytest.approx(90, abs=5)
        assert agreement(found, asked).resultant < 0.05


def test_azimuths_of_heads_can_be_read():
    network = learnt(*drawn_heads(200, 16, 0), passes=30)
    images, azimuths = drawn_heads(60, 16, 1)
    assert agreement(network.azimuths(images), azimuths).error < 30  # 90 by guessing


def test_scenes_are_seen_from_where_they_say(tmp_path: Path):
    """Each scene from all azimuths in turn; those of an untrained generator are no heads."""
    source = write(tmp_path / "graf", "graf", RGB)
    network = learnt(*drawn_heads(20, 16, 0), passes=1)
    row = measured(network, source, scenes=2, azimuths=4)
    assert row["images_seen"] == 8
    assert 0 <= row["error"] <= 180
    assert 0 <= row["resultant"] <= 1
    with pytest.raises(UserError, match="a dcgan generator has no camera"):
        measured(network, write(tmp_path / "dcgan", "dcgan", RGB), 2, 4)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write(tmp_path / "graf", "graf", RGB)
    main([str(source), "--heads", "20", "--scenes", "1", "--azimuths", "2", "--json", str(tmp_path / "rows")])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("heads not seen before: error ")
    assert f"{source}, 8 images seen: error " in said[1]
    assert (tmp_path / "rows").exists()
