"""What a race says of its curves: values between measurements, who is better, features without weights."""

from __future__ import annotations

import json

import pytest
import torch
from scipy import stats

from tools.learning_race import features
from tools.learning_race.curves import Curve, Point, badness, training_seconds
from tools.learning_race.picture import band
from tools.learning_race.verdicts import common_end, duels, standings, welch


def curve(name: str, seed: int, *points: tuple[int, float, float], metric: str = "swd") -> Curve:
    figures = [{metric: {"value": value, "reals": {"value": 0.5}}} for _, _, value in points]
    rows = zip(points, figures, strict=True)
    return Curve(name, seed, [Point(images, seconds, known) for (images, seconds, _), known in rows])


def test_a_value_between_two_measurements_is_interpolated_and_beyond_them_unknown():
    one = curve("a", 0, (0, 0.0, 9.0), (100, 4.0, 5.0), (200, 5.0, 1.0))
    assert one.value("swd", "images", 0) == 9
    assert one.value("swd", "images", 50) == pytest.approx(7)
    assert one.value("swd", "seconds", 4.5) == pytest.approx(3)
    assert one.value("swd", "seconds", 5.0) == 1
    assert one.value("swd", "images", 201) is None
    assert one.value("kid", "images", 50) is None
    other = curve("a", 1, (0, 0.0, 9.0), (100, 2.0, 5.0))
    assert (common_end([one, other], "images"), common_end([one, other], "seconds")) == (100, 2)
    assert common_end([one, other], "images", 50) == 50
    drawn = band([one, other], "swd", "seconds")
    assert (drawn.places[0], drawn.places[-1]) == (0, 2)
    assert (drawn.low[-1], drawn.high[-1], drawn.mean[-1]) == pytest.approx((5, 7, 6))


def test_seconds_are_those_of_steps_without_saving(tmp_path):
    lines = [
        {"images_seen": 100, "speed/seconds_per_kimg": 50.0, "speed/pause_seconds": 1.0},
        {"images_seen": 300, "speed/seconds_per_kimg": 20.0, "speed/pause_seconds": 0.5},
    ]
    assert training_seconds(tmp_path) == {0: 0.0}
    text = "\n".join(map(json.dumps, lines)) + '\n{"images_seen": 400, "spe'
    (tmp_path / "log.jsonl").write_text(text)
    assert training_seconds(tmp_path) == pytest.approx({0: 0.0, 100: 4.0, 300: 7.5})


def test_what_is_better_follows_the_metric():
    near = {"reals": {"value": 0.5}}
    assert badness("swd", {}, 3.0) == 3
    assert badness("pr", {}, 0.7) == -0.7
    assert (
        badness("msssim", near, 0.45) == pytest.approx(badness("msssim", near, 0.55)) == pytest.approx(0.05)
    )


def test_the_chance_is_welchs():
    one, other = [3.0, 4.0, 5.0], [8.0, 6.0, 10.0, 12.0]
    means = 4.0, 9.0
    errors = 1.0 / 3, (1 + 9 + 1 + 9) / 3 / 4
    t = (means[1] - means[0]) / sum(errors) ** 0.5
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 2 + errors[1] ** 2 / 3)
    assert welch(one, other) == pytest.approx(2 * stats.t.sf(t, freedom))
    assert welch([1.0], other) is None
    assert (welch([1.0, 1.0], [1.0, 1.0]), welch([1.0, 1.0], [2.0, 2.0])) == (1, 0)


@pytest.mark.parametrize("metric", ["swd", "pr"])
def test_a_difference_counts_if_it_is_more_than_the_spread(metric):
    def courses(gap: float) -> list[Curve]:
        return [
            curve(name, seed, (0, 0.0, 9.0), (100, 1.0, value), metric=metric)
            for name, middle in (("low", 2.0), ("high", 2.0 + gap))
            for seed, value in enumerate((middle - 0.1, middle, middle + 0.1))
        ]

    (far,) = duels(courses(1.0), standings(courses(1.0), "images", 100))
    assert far.better == {"swd": "low", "pr": "high"}[metric]
    assert (far.wins, far.pairs) == (3 if metric == "swd" else 0, 3)
    (near,) = duels(courses(0.1), standings(courses(0.1), "images", 100))
    assert near.better == ""
    assert near.chance > 0.05
    one, _ = standings(courses(1.0), "images", 100)
    assert (one.mean, one.low, one.high, one.seeds) == pytest.approx((2.0, 1.9, 2.1, 3))


def test_random_features_tell_noise_from_reals_and_are_the_same_each_time():
    network = features.random_network(torch.device("cpu"))
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    seen, logits = network(images)
    assert (seen.shape, logits) == ((3, network.size), None)
    assert torch.equal(seen, features.random_network(torch.device("cpu"))(images)[0])
    assert not torch.equal(seen[0], network(images.roll(1, -1) // 2)[0][0])
    small = features.small_pixels(torch.device("cpu"))
    flat = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert torch.equal(small(flat)[0], torch.ones(1, small.size))
