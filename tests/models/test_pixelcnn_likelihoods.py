"""Distributions of pixels: closed forms, sums over all values, and draws that follow them."""

from __future__ import annotations

import pytest
import torch

from pipeline.images.pictures import from_uint8, to_uint8
from pipeline.models.pixelcnn.likelihoods import (
    Logistics,
    Softmax,
    chosen,
    log_cell,
    numbers_of,
    value_of,
)

EVERY = from_uint8(torch.arange(256))


def told(likelihood, count=1, seed=0):
    draws = torch.randn(count, likelihood.parameters, 1, 1, generator=torch.Generator().manual_seed(seed))
    return draws if isinstance(likelihood, Softmax) else draws * 0.7


def pixels(*colours):
    """Images of one pixel, of every combination of the last colour's values with the others given."""
    last = EVERY if colours[-1] is None else torch.tensor([colours[-1]])
    first = [torch.full_like(last, value) for value in colours[:-1]]
    return torch.stack([*first, last], dim=1)[:, :, None, None]


def test_values_are_those_of_stored_images():
    numbers = torch.arange(256)
    assert torch.equal(value_of(numbers), from_uint8(numbers))
    near = from_uint8(numbers) + torch.linspace(-0.9, 0.9, 256) / 255
    assert torch.equal(numbers_of(near), numbers)
    assert torch.equal(numbers_of(torch.tensor([-1.7, 2.0])), torch.tensor([0, 255]))
    assert torch.equal(to_uint8(value_of(numbers)), numbers.to(torch.uint8))


@pytest.mark.parametrize(
    "make", [lambda c: Softmax(c), lambda c: Logistics(c, 3)], ids=["softmax", "logistics"]
)
def test_one_colour_has_a_probability_of_one_in_all(make):
    likelihood = make(1)
    each = likelihood.log_prob(told(likelihood).expand(256, -1, -1, -1), pixels(None))
    assert float(each.double().exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("colours", [2, 3])
def test_a_last_colour_summed_away_leaves_the_mixture_of_the_others(colours):
    """Each colour's mean depends on those before it, and on no later one."""
    whole, fewer = Logistics(colours, 3), Logistics(colours - 1, 3)
    parameters = told(whole)
    logits, means, scales, coefficients = torch.split(
        parameters, [3, 3 * colours, 3 * colours, 3 * whole.pairs], dim=1
    )
    kept = [logits, means[:, :-3], scales[:, :-3], coefficients[:, : 3 * fewer.pairs]]
    given = [0.2, -0.6][: colours - 1]
    each = whole.log_prob(parameters.expand(256, -1, -1, -1), pixels(*given, None))
    expected = fewer.log_prob(torch.cat(kept, dim=1), pixels(*given))
    assert float(each.double().exp().sum().log()) == pytest.approx(float(expected), abs=1e-4)


def test_a_softmax_is_one_for_each_colour_and_pixel():
    likelihood = Softmax(3)
    logits = torch.randn(2, 768, 2, 1, generator=torch.Generator().manual_seed(0))
    numbers = torch.randint(256, (2, 3, 2, 1), generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2)
    for n in range(2):
        for colour in range(3):
            for y in range(2):
                row = logits[n, 256 * colour : 256 * colour + 256, y, 0].log_softmax(dim=0)
                expected[n] += row[numbers[n, colour, y, 0]]
    torch.testing.assert_close(likelihood.log_prob(logits, value_of(numbers)), expected)


def test_cells_in_closed_form():
    """Open at both ends: the logistic's cumulative distribution there, and its difference in between."""
    mean, log_scale = torch.tensor(0.1, dtype=torch.float64), torch.tensor(-1.2, dtype=torch.float64)
    x = EVERY.double()
    found = log_cell(x, mean, log_scale).exp()
    up, low = (torch.sigmoid((x + side / 255 - mean) / log_scale.exp()) for side in (1, -1))
    up[-1], low[0] = 1, 0
    torch.testing.assert_close(found, up - low, rtol=1e-6, atol=1e-12)
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)


def test_a_value_far_from_the_mean_has_a_finite_gradient_towards_it():
    mean = torch.zeros(256, requires_grad=True)
    log_scale = torch.full((256,), -7.0, requires_grad=True)
    cells = log_cell(EVERY, mean, log_scale)
    assert torch.isfinite(cells).all()
    towards, wider = torch.autograd.grad(cells.sum(), (mean, log_scale))
    assert torch.isfinite(wider).all()
    far = EVERY.abs() > 0.1
    assert torch.equal(towards[far].sign(), EVERY[far].sign())
    dense = -(EVERY[far] / torch.tensor(-7.0).exp()).abs()
    torch.testing.assert_close(
        cells[far][1:-1], dense[1:-1] + 7 - torch.log(torch.tensor(127.5)), rtol=1e-4, atol=1e-3
    )


def test_the_chosen_outcome_is_where_the_uniform_number_falls():
    probabilities = torch.tensor([0.2, 0.5, 0.3])
    uniform = (torch.arange(1000) + 0.5) / 1000
    found = chosen(probabilities.log().expand(1000, -1), uniform)
    assert torch.equal(found.bincount(), torch.tensor([200, 500, 300]))
    assert torch.equal(found, found.sort().values)
    assert chosen(probabilities.log()[None], torch.tensor([1.0])).item() == 2


@pytest.mark.parametrize("make", [lambda: Softmax(1), lambda: Logistics(1, 2)], ids=["softmax", "logistics"])
def test_draws_of_one_colour_are_as_frequent_as_probable(make):
    """Over a grid of uniform numbers, which leaves nothing to chance."""
    likelihood, side = make(), 300
    parameters = told(likelihood)
    grid = (torch.arange(side) + 0.5) / side
    uniform = torch.cartesian_prod(*[grid] * likelihood.draws).view(-1, likelihood.draws)
    drawn = likelihood.draw(
        parameters[:, :, 0, 0].expand(len(uniform), -1), torch.zeros(len(uniform), 1), uniform, 0
    )
    shares = numbers_of(drawn[:, 0]).bincount(minlength=256) / len(uniform)
    expected = likelihood.log_prob(parameters.expand(256, -1, -1, -1), pixels(None)).exp()
    torch.testing.assert_close(shares.cumsum(0), expected.cumsum(0), rtol=0, atol=1.5 / side)


def test_a_draw_of_three_colours_follows_from_those_before():
    """With one narrow component, the colours are its means given the others."""
    likelihood = Logistics(3, 1)
    parameters = torch.tensor([[0.0, 0.5, -0.25, 0.1, -9.0, -9.0, -9.0, 1.0, -0.5, 0.25]])
    half = torch.full((1, 4), 0.5)
    r, g, b = likelihood.draw(parameters, torch.zeros(1, 3), half, 0)[0].tolist()
    first, second, third = torch.tanh(parameters[0, 7:]).tolist()
    assert r == pytest.approx(0.5, abs=1 / 255)
    assert g == pytest.approx(-0.25 + first * r, abs=1 / 255)
    assert b == pytest.approx(0.1 + second * r + third * g, abs=1 / 255)
