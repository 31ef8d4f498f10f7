"""Equivariance: closed forms in spaces that move exactly or not at all, the authors' transforms, any number
of processes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from pipeline.contracts import ImageSpec
from pipeline.evaluation.arithmetic.equivariance import (
    LAWS,
    Moved,
    decibels,
    shifted_between,
    shifted_whole,
    turned,
    turned_in_place,
)
from pipeline.evaluation.compared import Compared, Walkable
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.evaluation.peers import Alone
from pipeline.evaluation.settings import Asked, Settings
from pipeline.latents import MovableSpace, moves_of
from tests.evaluation.movable import RampSpace, WaveSpace
from tests.evaluation.worlds import SmoothSampler
from tests.tiny_families import seeded_networks, tiny_family

RECORDED = json.loads((Path(__file__).parent / "equivariance.json").read_text())
NAMES = ("eqt", "eqt_frac", "eqr")
SIDE = 32


def test_moves_take_what_is_seen_to_where_it_comes_from() -> None:
    move = moves_of(torch.tensor([[0.25, 0.5]]), torch.tensor([math.pi / 2]))[0]
    # A quarter counter-clockwise takes what is on the right to the top, and then it is shifted.
    torch.testing.assert_close(move @ torch.tensor([0.25, 0.5 - 0.1, 1.0]), torch.tensor([0.1, 0.0, 1.0]))
    torch.testing.assert_close(moves_of(torch.zeros(1, 2), torch.zeros(1))[0], torch.eye(3))


@pytest.mark.parametrize(("motion", "least"), [("whole", 110), ("fraction", 65), ("turn", 65)])
def test_a_space_that_moves_exactly_scores_high(motion: Any, least: float) -> None:
    """What is left are float32's rounding, and of filters whatever depends on the direction."""
    space = WaveSpace(SIDE)
    assert isinstance(space, MovableSpace)
    assert decibels(Moved(space, (motion,)).errors(range(6), None)[:, 0]) > least


def test_what_does_not_move_errs_by_the_shift() -> None:
    """A ramp of slope s, shifted by d, is s d off wherever it is known."""
    space = RampSpace(SIDE, 0.01)
    errors = Moved(space, ("whole", "fraction")).errors(range(8), None)
    shifts = -SIDE * torch.stack(space.asked)[:, :2, 2].double().view(8, 2, 2)
    assert shifts[:, 0].equal(shifts[:, 0].round())
    for shift, (squared, values) in zip(shifts[:, 0], errors[:, 0], strict=True):
        x, y = shift.abs().tolist()
        assert values == 2 * (SIDE - x) * (SIDE - y)
        assert float(squared) == pytest.approx(float(values) * (0.01 * x) ** 2, rel=1e-4, abs=1e-9)
    for shift, (squared, values) in zip(shifts[:, 1], errors[:, 1], strict=True):
        # Lanczos weights that sum to 1 shift a ramp by a few hundredths of a pixel more or less.
        assert float((squared / values).sqrt()) / 0.01 == pytest.approx(abs(float(shift[0])), abs=0.05)
    expected = 10 * math.log10(4 * float(errors[:, 0, 1].sum() / errors[:, 0, 0].sum()))
    assert decibels(errors[:, 0]) == pytest.approx(expected)


def test_what_does_not_turn_errs_by_the_turn() -> None:
    space = RampSpace(SIDE, 0.01)
    line = torch.arange(SIDE).double() + 0.5 - SIDE / 2
    for angle in (0.4, -2.0):
        image = space.synthesise(torch.zeros(1, 1, 1))
        expected, found, known = LAWS["turn"].pair(image, image, torch.tensor([angle, 0.0]))
        off = 0.01 * (math.cos(angle) * line - math.sin(angle) * line[:, None] - line)
        torch.testing.assert_close((expected - found)[0, 0][known], off.float()[known], atol=2e-3, rtol=0)
        assert known.sum() > 300


def test_motions_are_uniform_and_a_sample_s_own() -> None:
    space = RampSpace(16)
    Moved(space, ("fraction",)).errors(range(300), None)
    shifts = torch.stack(space.asked)[:, :2, 2]
    assert shifts.abs().max() <= 1 / 8
    assert shifts.std(dim=0).tolist() == pytest.approx([1 / 8 / math.sqrt(3)] * 2, rel=0.1)
    assert shifts.mean(dim=0).tolist() == pytest.approx([0, 0], abs=0.015)
    angles = LAWS["turn"].amounts(torch.tensor([[-1.0, 0], [0.5, 0]]), torch.tensor([16, 16]))
    assert angles[:, 0].tolist() == pytest.approx([-math.pi, math.pi / 2])


def pattern() -> torch.Tensor:
    """An image without symmetries, [1, 2, 24, 24], full of high frequencies."""
    places = torch.arange(2 * 24 * 24).double()
    return (places * places * 0.37).sin().float().view(1, 2, 24, 24)


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['transform']} {case['by']}")
def test_transforms_are_the_authors(case: dict[str, Any]) -> None:
    by: dict[str, Any] = {"whole": shifted_whole, "fraction": shifted_between}
    by |= {"turn": turned, "in place": turned_in_place}
    amount = torch.tensor(case["by"], dtype=torch.float64)
    found, known = by[case["transform"]](pattern(), amount if amount.dim() else float(amount))
    assert int(known.sum()) == case["known"]
    rows, columns = torch.tensor(case["places"]).unbind(1)
    assert known[rows, columns].all()
    values = torch.tensor(case["values"])
    torch.testing.assert_close(found[0][:, rows, columns], values, atol=3e-5, rtol=0)


class Rank(Alone):
    """One of two processes, the second of which has run before the first."""

    world_size = 2

    def __init__(self, rank: int, sent: list[Any]) -> None:
        self.rank, self.sent = rank, sent

    def gather(self, value: Any) -> list[Any]:
        if self.rank:
            self.sent.append(value)
            return []
        return [value, self.sent.pop(0)]


def figures(sampler: Any, peers: Any, *, batch_size: int = 32, names: tuple[str, ...] = NAMES) -> list[Any]:
    settings = Settings(names, count=11, batch_size=batch_size)
    spec = ImageSpec(SIDE, SIDE, 1)
    walk = Walkable(sampler, 2**33, None)
    compared = Compared(Asked(settings, 20), None, None, cast(Any, None), peers, spec, walk, {})
    return [METRICS[name].figure(compared) for name in names]


def test_any_number_of_processes_and_any_batch_give_the_same_bits() -> None:
    space = WaveSpace(SIDE, 0.3)
    alone = figures(space, Alone())
    assert [one["value"] for one in alone[1:]] == pytest.approx([62, 52], abs=3)
    assert len(space.asked) == 33  # together they share the images that do not move
    sent: list[Any] = []
    assert figures(space, Rank(1, sent), batch_size=2) == [{}, {}, {}]
    assert figures(space, Rank(0, sent), batch_size=2) == alone
    assert figures(space, Alone(), names=("eqr",)) == alone[2:]


def test_generators_that_cannot_be_moved_are_refused() -> None:
    refusal = METRICS["eqr"].refusal(SmoothSampler(ImageSpec(SIDE, SIDE, 3)))
    assert refusal == "this family's generators have no input that can be moved"


def test_no_difference_is_one_of_rounding() -> None:
    assert decibels(torch.tensor([[0.0, 10.0]])) == pytest.approx(144.5, abs=0.01)


@pytest.mark.parametrize(("name", "least", "most"), [("stylegan3", 50, 145), ("stylegan2", 0, 25)])
def test_networks_that_are_built_to_be_equivariant_are(name: str, least: float, most: float) -> None:
    family = tiny_family(name, ImageSpec(SIDE, SIDE, 1))
    space = family.sampler(seeded_networks(family).generator.eval().requires_grad_(False))
    assert isinstance(space, MovableSpace)
    figures = Moved(space, ("whole", "fraction")).errors(range(2), None)
    assert all(least < decibels(figures[:, i]) < most for i in range(2))
