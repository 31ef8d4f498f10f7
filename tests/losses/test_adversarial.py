"""Both sides of every adversarial loss against its formula in numpy, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.config.families import Loss
from pipeline.losses import ADVERSARIAL, DiscriminatorTurn, GeneratorTurn
from tests.losses.plays import N, make_game, make_reals

Side = Callable[[np.ndarray, np.ndarray], np.ndarray]


def d(logits: np.ndarray) -> np.ndarray:
    """The probability that an image is real."""
    return 1 / (1 + np.exp(-logits))


# As the papers write them, with D(x) = d(r), D(G(z)) = d(f) where they mean probabilities:
# (what the discriminator minimises, what the generator minimises).
PAPERS: dict[str, tuple[Side, Side]] = {
    "minimax": (
        lambda r, f: -(np.log(d(r)) + np.log(1 - d(f))),
        lambda r, f: np.log(1 - d(f)),
    ),
    "non_saturating": (
        lambda r, f: -(np.log(d(r)) + np.log(1 - d(f))),
        lambda r, f: -np.log(d(f)),
    ),
    "least_squares": (
        lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * (f - 0) ** 2,
        lambda r, f: 0.5 * (f - 1) ** 2,
    ),
    "wasserstein": (lambda r, f: -(r - f), lambda r, f: -f),
    "hinge": (
        lambda r, f: -np.minimum(0, -1 + r) - np.minimum(0, -1 - f),
        lambda r, f: -f,
    ),
    "relativistic": (
        lambda r, f: -np.log(d(r - f)),
        lambda r, f: -np.log(d(f - r)),
    ),
}
REAL = np.array([-3.1, -1.0001, -0.4, 0.0, 0.3, 0.99, 1.7, 4.2])
FAKE = np.array([0.8, -2.2, 1.3, -0.6, 0.0, -0.99, -1.4, 2.9])

each_loss = pytest.mark.parametrize("name", sorted(PAPERS))
each_side = pytest.mark.parametrize("side", ["discriminator", "generator"])


def theirs(name: str, side: str) -> Side:
    return PAPERS[name][0 if side == "discriminator" else 1]


def test_every_loss_is_tested_and_every_name_that_a_config_may_give_is_one():
    assert PAPERS.keys() == ADVERSARIAL.keys() == set(get_args(Loss))


@each_loss
@each_side
def test_is_the_papers_formula(name, side):
    ours = getattr(ADVERSARIAL[name], side)(torch.tensor(REAL), torch.tensor(FAKE))
    assert ours.shape == (len(REAL),)
    np.testing.assert_allclose(ours.numpy(), theirs(name, side)(REAL, FAKE), rtol=1e-10, atol=1e-12)


@each_loss
@each_side
def test_gradients_are_the_formulas_differences(name, side):
    r, f = (torch.tensor(logits, requires_grad=True) for logits in (REAL, FAKE))
    loss = getattr(ADVERSARIAL[name], side)(r, f).sum()
    ours = torch.autograd.grad(loss, (r, f), allow_unused=True)
    formula, step = theirs(name, side), 1e-6
    expected = (
        (formula(REAL + step, FAKE) - formula(REAL - step, FAKE)) / (2 * step),
        (formula(REAL, FAKE + step) - formula(REAL, FAKE - step)) / (2 * step),
    )
    for gradient, difference in zip(ours, expected, strict=True):
        found = np.zeros_like(REAL) if gradient is None else gradient.numpy()
        np.testing.assert_allclose(found, difference, atol=1e-8)


@each_loss
def test_stays_finite_far_out(name):
    """Where a sigmoid in float32 is 0 or 1."""
    r, f = torch.tensor([-300.0, 300.0], requires_grad=True), torch.tensor([300.0, -300.0])
    for side in ("discriminator", "generator"):
        loss = getattr(ADVERSARIAL[name], side)(r, f.requires_grad_())
        assert torch.isfinite(loss).all()
        for gradient in torch.autograd.grad(loss.sum(), (r, f), allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


@each_loss
def test_pairs_says_whether_the_generators_side_looks_at_reals(name):
    formula = theirs(name, "generator")
    assert ADVERSARIAL[name].pairs == bool(np.any(formula(REAL, FAKE) != formula(REAL + 1, FAKE)))


@each_loss
@pytest.mark.parametrize("turn", [DiscriminatorTurn, GeneratorTurn])
def test_a_turn_puts_reals_and_fakes_where_they_belong(name, turn):
    game, reals = make_game(), make_reals()
    fakes = game.generate(N).images
    judge = game.networks.discriminator
    side = "discriminator" if turn is DiscriminatorTurn else "generator"
    terms = turn(ADVERSARIAL[name])(game, reals)
    expected = theirs(name, side)(judge.by_hand(reals.images), judge.by_hand(fakes))
    np.testing.assert_allclose(terms.loss.detach().numpy(), expected, rtol=1e-9)
    assert float(terms.stats[f"loss/{side}"]) == pytest.approx(expected.mean())


@each_loss
def test_the_generator_learns_through_the_discriminator(name):
    """The gradient by a parameter of the generator against differences of the whole turn."""
    game, reals = make_game(), make_reals()
    turn, bias = GeneratorTurn(ADVERSARIAL[name]), game.networks.generator.bias
    (ours,) = torch.autograd.grad(turn(game, reals).loss.mean(), bias)
    step = 1e-6
    for place in (0, 7):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                bias[place] += sign * step
                ends.append(float(turn(game, reals).loss.mean()))
                bias[place] -= sign * step
        assert float(ours[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-8)
