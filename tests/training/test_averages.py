"""Averages with power profiles: tracked, kept and mixed."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import UserError
from pipeline.storage.averages import Kind, stored_averages
from pipeline.training.ema import TrackedAverages
from pipeline.training.mixing import recipe_of
from pipeline.training.profiles import exponent_of
from pipeline.training.state import copied, put_back, take
from tests.averaged_run import WIDTHS, averaged_run, tracked
from tests.toy import ToyFamily, toy_trainer
from tools.research.tracked_averages import rows


def moved(module: torch.nn.Module, numbers: torch.Generator) -> torch.Tensor:
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn(value.shape, generator=numbers))
    return torch.nn.utils.parameters_to_vector(module.parameters()).double()


def test_a_tracked_average_is_the_sum_written_out():
    module, numbers = torch.nn.Linear(5, 3), torch.Generator().manual_seed(0)
    averages = TrackedAverages(module, (0.02, 0.2))
    seen, began, path = 64, 64, []
    averages.begin(began)
    assert averages.at(began) == {}
    for images in (32, 32, 16, 64, 8, 32):
        seen += images
        path.append((seen - began, moved(module, numbers)))
        averages.update(seen, images)
    now = averages.at(seen)
    assert set(now) == {Kind(0.02, 64), Kind(0.2, 64)}
    for kind, average in now.items():
        power, before, expected = exponent_of(kind.width) + 1, 0, torch.zeros(18, dtype=torch.float64)
        for end, weights in path:
            share = (end**power - before**power) / (seen - began) ** power
            expected += share * weights
            before = end
        found = torch.nn.utils.parameters_to_vector(average.values())
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_growth_begins_them_anew():
    running = tracked(toy_trainer(ToyFamily(grow_at=16)))
    for _ in range(2):
        running.step()
    assert {kind.since for kind in running.tracked.at(16)} == {0}
    running.step()
    assert {kind.since for kind in running.tracked.at(24)} == {16}
    weights = dict(running.networks.generator.named_parameters())
    for average in running.tracked.at(24).values():  # the first step after it is all they hold
        assert all(torch.equal(value, weights[name]) for name, value in average.items())


def test_they_go_on_bit_for_bit():
    straight = tracked(toy_trainer())
    for _ in range(3):
        straight.step()
    resumed = tracked(toy_trainer(start=24))
    assert put_back(resumed, copied(take(straight))) == []
    for running in (straight, resumed):
        for _ in range(3):
            running.step()
    ours, theirs = resumed.tracked.state(), straight.tracked.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_widths_that_a_checkpoint_lacks_begin_where_it_stands_and_others_go_on():
    running = tracked(toy_trainer(), (0.01, 0.05))
    for _ in range(3):
        running.step()
    kept = copied(take(running))
    resumed = tracked(toy_trainer(), (0.05, 0.1))
    assert put_back(resumed, kept) == [0.1]
    assert resumed.tracked.at(24).keys() == {Kind(0.05, 0)}
    running.step()
    resumed.step()
    now = resumed.tracked.at(32)
    assert now.keys() == {Kind(0.05, 0), Kind(0.1, 24)}
    assert all(
        torch.equal(value, running.tracked.at(32)[Kind(0.05, 0)][name])
        for name, value in now[Kind(0.05, 0)].items()
    )
    del kept["tracked"]  # as older versions wrote them
    assert put_back(tracked(toy_trainer(), (0.05, 0.1)), kept) == [0.05, 0.1]


def test_averages_of_other_shapes_do_not_fit():
    running = tracked(toy_trainer())
    running.step()
    kept = copied(take(running))
    name = next(name for name in kept["tracked"] if name.endswith("weight"))
    kept["tracked"][name] = kept["tracked"][name][:1]
    with pytest.raises(UserError, match="does not fit"):
        put_back(tracked(toy_trainer()), kept)


@pytest.mark.slow
def test_an_average_that_was_tracked_is_made_of_the_others(tmp_path):
    running = averaged_run(tmp_path, steps=160, every=4)
    found = {row.width: row for row in rows(tmp_path)}
    assert found.keys() == set(WIDTHS)
    for width in (0.05, 0.1):
        assert found[width].of_weights < 1e-3
        assert found[width].of_distance < 0.02  # the averages themselves are not far from each other
        assert found[width].profile < 0.1
    stored = stored_averages(tmp_path)
    (kept,) = (one for one in stored if one.images_seen == 2560 and one.kind.width == 0.1)
    exact = running.tracked.at(2560)[kept.kind]
    for name, value in kept.parameters():
        torch.testing.assert_close(value, exact[name], rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="keep no averages"):
        recipe_of(tmp_path, [], 0.1)
    with pytest.raises(UserError, match=r"--at 70: .* such as 64 or 128"):
        recipe_of(tmp_path, stored, 0.1, at=70)
    assert "only within" in recipe_of(tmp_path, stored, 0.001).doubt


def test_only_averages_that_began_together_are_mixed(tmp_path):
    def then(running, step):
        if step == 10:
            running.tracked.begin(running.progress.images_seen)

    averaged_run(tmp_path, steps=20, every=2, then=then)
    stored = stored_averages(tmp_path)
    later = recipe_of(tmp_path, stored, 0.03)
    assert (later.since, later.parts[0].images_seen, len(later.parts)) == (160, 192, 15)
    before = recipe_of(tmp_path, stored, 0.03, at=160)
    assert (before.since, len(before.parts)) == (0, 15)
