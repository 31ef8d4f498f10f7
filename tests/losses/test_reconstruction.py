"""Likelihoods of images against torch's distributions, and the balance of two losses in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as d

from pipeline.losses import LIKELIHOODS, Balance

SCALE = 0.7


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 4, 3, 5, 5, generator=draws) * 2 - 1
    return x, y


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("laplace", lambda y: d.Laplace(y, SCALE)),
        ("gaussian", lambda y: d.Normal(y, SCALE)),
        ("bernoulli", lambda y: d.Bernoulli((1 + y) / 2)),
    ],
)
def test_likelihoods_are_those_of_torchs_distributions(name, theirs, images):
    x, y = images
    if name == "bernoulli":
        x = x.sign()
    got = LIKELIHOODS[name](x, y, torch.tensor(math.log(SCALE)))
    known = (1 + x) / 2 if name == "bernoulli" else x
    torch.testing.assert_close(got, -theirs(y).log_prob(known).flatten(1).sum(dim=1))


@pytest.mark.parametrize(("name", "width"), [("laplace", "abs"), ("gaussian", "square")])
def test_the_best_width_is_the_mean_error(name, width, images):
    x, y = images
    errors = getattr(x - y, width)().mean()
    best = errors.log() if name == "laplace" else errors.log() / 2

    def slope(off: float) -> float:
        log_scale = (best + off).requires_grad_()
        return float(torch.autograd.grad(LIKELIHOODS[name](x, y, log_scale).mean(), log_scale)[0])

    assert abs(slope(0.0)) < 1e-3 * abs(slope(0.1))


def test_pixels_that_are_certain_and_wrong_stay_finite():
    y = torch.ones(1, 1, 1, 2, requires_grad=True)
    loss = LIKELIHOODS["bernoulli"](torch.tensor([[[[1.0, -1.0]]]]), y, torch.zeros([]))
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


def measured(balance: Balance, samples: slice = slice(None)) -> dict[str, torch.Tensor]:
    """Of losses that are linear in the weight (3, 4): their gradients are the means of `a` and of `b`."""
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    a = torch.tensor([[3.0, 0.0], [3.0, 8.0]])[samples]
    b = torch.tensor([[0.0, 1.0], [0.0, 0.0]])[samples]
    return balance.measured(a @ weight, b @ weight, weight)


def test_the_balance_is_the_ratio_of_gradients():
    balance = Balance()
    assert balance.weight == 0
    stats = measured(balance)
    assert all(not value.requires_grad for value in stats.values())
    balance.observe(stats)
    # |(3, 4)| / (|(0, 0.5)| + 1e-4)
    assert balance.weight.item() == pytest.approx(5 / 0.5001)


def test_micro_batches_are_balanced_as_the_whole_batch():
    """Whose gradient's norm is not the mean of theirs."""
    whole, parts = Balance(), Balance()
    whole.observe(measured(whole))
    first, second = measured(parts, slice(0, 1)), measured(parts, slice(1, 2))
    parts.observe({name: (first[name] + second[name]) / 2 for name in first})
    assert parts.weight.item() == pytest.approx(whole.weight.item())
    lone = Balance()
    lone.observe(first)
    assert lone.weight.item() == pytest.approx(3 / 1.0001)


def test_the_balance_has_bounds_and_keeps_to_what_is_finite():
    balance = Balance()
    nothing = {"gradient/reconstruction": torch.ones(1), "gradient/adversarial": torch.zeros(1)}
    balance.observe(nothing)
    assert balance.weight == 1e4
    balance.observe({**nothing, "gradient/reconstruction": torch.tensor([2.0]) * 1e-4})
    assert balance.weight.item() == pytest.approx(2)
    balance.observe({**nothing, "gradient/reconstruction": torch.tensor([math.nan])})
    assert balance.weight.item() == pytest.approx(2)
    balance.observe({"loss/generator": torch.ones([])})
    assert balance.weight.item() == pytest.approx(2)
