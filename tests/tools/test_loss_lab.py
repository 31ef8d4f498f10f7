"""The lab for losses: its figures on points known beforehand, and that every recipe learns."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import UserError
from pipeline.losses import ADVERSARIAL
from tools.research import loss_lab
from tools.research.loss_lab import MIXTURES, RECIPES, PointStream, grid, main, picture, ring, train

WITHIN_THREE = 1 - math.exp(-4.5)  # of a Gaussian in the plane


def test_where_the_modes_are():
    modes = ring().modes
    assert modes.shape == (8, 2)
    torch.testing.assert_close(modes.norm(dim=1), torch.full((8,), 0.8))
    sides = (modes - modes.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(sides, torch.full((8,), 2 * 0.8 * math.sin(math.pi / 8)))
    modes = grid().modes
    assert len({(round(x, 3), round(y, 3)) for x, y in modes.tolist()}) == 25
    assert sorted({round(x, 3) for x in modes[:, 0].tolist()}) == [-0.8, -0.4, 0, 0.4, 0.8]


@pytest.mark.parametrize("make", [ring, grid])
def test_the_score_of_points_known_beforehand(make):
    mixture = make()
    modes, deviation = mixture.modes, mixture.deviation
    assert mixture.score(modes) == (len(modes), 1.0)
    assert mixture.score(modes[:3].repeat(5, 1)) == (3, 1.0)
    inside, outside = (torch.tensor([[k * deviation, 0.0]]) for k in (2.99, 3.01))
    assert mixture.score(modes + inside) == (len(modes), 1.0)
    assert mixture.score(modes + outside) == (0, 0.0)
    assert mixture.score(torch.cat([modes[:1] + inside, modes[1:2] + outside])) == (1, 0.5)
    covered, quality = mixture.score(mixture.draw(20_000, seed=1))
    assert covered == len(modes)
    assert quality == pytest.approx(WITHIN_THREE, abs=0.004)


def test_real_points_are_spread_evenly_over_the_modes():
    mixture = ring()
    points = mixture.draw(16_000, seed=2)
    nearest = torch.cdist(points, mixture.modes).argmin(dim=1)
    counts = torch.bincount(nearest, minlength=8)
    assert (counts - 2000).abs().max() < 200
    offsets = points - mixture.modes[nearest]
    torch.testing.assert_close(offsets.std(dim=0), torch.full((2,), mixture.deviation), rtol=0.03, atol=0)


def test_the_stream_is_a_function_of_its_position():
    one, other = PointStream(ring(), 3), PointStream(ring(), 3)
    first, second = one.draw(16, times=2)
    assert first.images.shape == (16, 2, 1, 1)
    assert not torch.equal(first.images, second.images)
    other.position = 16
    assert torch.equal(other.draw(16)[0].images, second.images)
    assert not torch.equal(PointStream(ring(), 4).draw(16)[0].images, first.images)


def test_every_adversarial_loss_has_a_recipe():
    assert {recipe["loss"] for recipe in RECIPES.values()} == ADVERSARIAL.keys()


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The least share of high quality that a recipe must reach of the ring: about half of what it does reach in
# so many images, and more than twice what points spread evenly over the picture have, which cover all modes.
IMAGES, MODES = 100_000, 6
EVENLY = 8 * math.pi * (3 * 0.04) ** 2 / 2.4**2  # eight discs of three deviations in a square
BOUNDS: dict[str, float] = {
    "minimax": 0.24,
    "non_saturating": 0.22,
    "non_saturating_r1": 0.26,
    "non_saturating_lecam": 0.29,
    "least_squares": 0.19,
    "wasserstein_clip": 0.16,
    "wgan_gp": 0.17,
    "hinge": 0.20,
    "relativistic": 0.25,
}


def test_every_recipe_has_a_bound():
    assert BOUNDS.keys() == RECIPES.keys()
    assert ring().deviation == 0.04
    assert min(BOUNDS.values()) > 2 * EVENLY


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", list(RECIPES))
def test_it_learns_the_ring(name):
    result = train(name, ring(), images=IMAGES)
    assert result.points.shape == (2500, 2)
    assert result.modes >= MODES
    assert result.control[0] < MODES
    assert result.quality > max(BOUNDS[name], 3 * result.control[1])


def test_the_command_writes_a_picture_and_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loss_lab, "SAMPLES", 50)
    drawn, figures = tmp_path / "sub" / "lab.png", tmp_path / "lab.json"
    chosen = ["wgan_gp", "relativistic", "minimax", "non_saturating_lecam"]
    words = ["--loss", *chosen, "--images", "0.5k", "--mixture", "grid"]
    assert main([*words, "--picture", str(drawn), "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == chosen
    assert all("of 25 modes" in line and "untrained" in line for line in lines[:4])
    rows = json.loads(figures.read_text())["rows"]
    assert [row["op"] for row in rows] == chosen
    for row in rows:
        assert row["size"] == "grid of 25"
        assert 0 <= row["modes"] <= 25
        assert 0 <= row["quality"] <= 1
        assert {"untrained_modes", "untrained_quality", "ms"} <= row.keys()
    with Image.open(drawn) as opened:
        width, height = opened.size
    assert width > height > 400  # three panels, then one


def test_samples_are_drawn_where_they_are():
    mixture = ring()
    points = torch.tensor([[0.8, 0.0], [5.0, 5.0]])  # one at the rightmost mode, one out of sight
    result = loss_lab.LabResult("name", points, 1, 0.5, (0, 0.0), 1.0)
    pixels = picture([result], mixture, side=240)
    assert pixels.dtype == np.uint8
    blue = (pixels.astype(int) @ [-1, 0, 1]) > 60
    rows, columns = np.nonzero(blue)
    assert len(rows)
    head = pixels.shape[0] - 240
    assert abs(rows.mean() - head - 120) < 2
    assert abs(columns.mean() - 120 * (1 + 0.8 / 1.2)) < 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss", "hing"], r"--loss: 'hing' is unknown; allowed: all, or minimax"),
        (["--images", "many"], r"--images: 'many' is no count; allowed: .*400k"),
        (["--images", "0"], r"--images: '0' is no count"),
        (["--picture", "lab.pdf"], r"not a picture's file name"),
    ],
)
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(UserError, match=message):
        main(words)


def test_the_mixtures_have_names():
    assert sorted(MIXTURES) == ["grid", "ring"]
