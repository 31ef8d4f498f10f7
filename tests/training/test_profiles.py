"""Power profiles against the paper's closed forms, numerical integration and sums written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.run import WIDEST
from pipeline.training.profiles import (
    Profile,
    exponent_of,
    inner_products,
    mixture,
    step_of,
    width_of,
)

GRID = (np.arange(40_000) + 0.5) / 40_000


def density(profile: Profile, longest: float) -> np.ndarray:
    """On the grid, stretched to `longest` images."""
    s, g, t = GRID * longest, profile.exponent, profile.images
    return np.where(s < t, (g + 1) / t * np.minimum(s / t, 1.0) ** g, 0.0)


# The table of the paper's section 3 and values of its formula.
@pytest.mark.parametrize(
    ("width", "exponent"), [(0.05, 16.97), (0.10, 6.94), (0.15, 3.56), (0.20, 1.83), (0.25, 0.72)]
)
def test_published_widths_have_their_exponents(width, exponent):
    assert exponent_of(width) == pytest.approx(exponent, abs=0.005)


@given(st.floats(1e-4, 0.2886))
def test_width_and_exponent_are_inverse(width):
    assert width_of(exponent_of(width)) == pytest.approx(width, rel=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 1.3, 16.97, 97.0])
def test_the_width_is_the_standard_deviation(exponent):
    weights = density(Profile(exponent, 1.0), 1.0)
    mean = (GRID * weights).mean()
    assert width_of(exponent) == pytest.approx(math.sqrt((GRID**2 * weights).mean() - mean**2), rel=2e-3)


@pytest.mark.parametrize("width", [0.0, -0.1, WIDEST, 0.5, math.nan])
def test_what_is_no_width_is_refused(width):
    with pytest.raises(ValueError, match="must be above 0"):
        exponent_of(width)


@given(st.lists(st.integers(1, 64), min_size=2, max_size=30), st.floats(0.3, 120))
def test_steps_of_any_size_give_the_profile_over_weights_that_stand_still_within_each(batches, exponent):
    seen, average = 0, np.zeros(len(batches))
    for number, images in enumerate(batches):
        seen += images
        step = step_of(exponent, images, seen)
        average = average * (1 - step)
        average[number] += step
    ends = np.cumsum([0, *batches]) / seen
    np.testing.assert_allclose(average, np.diff(ends ** (exponent + 1)), rtol=1e-7, atol=1e-14)


def test_a_half_life_that_is_a_share_of_the_images_seen_is_a_power_profile():
    # beta = 0.5^(images / (share * seen)): StyleGAN2's ramp of 0.05 has the exponent ln 2 / 0.05 - 1 = 12.86.
    share, images, seen = 0.05, 1, 1_000_000
    exponent = math.log(2) / share - 1
    assert exponent == pytest.approx(12.86, abs=0.005)
    assert width_of(exponent) == pytest.approx(0.063, abs=5e-4)
    assert 1 - 0.5 ** (images / (share * seen)) == pytest.approx(step_of(exponent, images, seen), rel=1e-5)


def test_inner_products_are_the_integrals():
    profiles = [Profile(16.97, 1000), Profile(6.94, 1000), Profile(16.97, 400), Profile(0.7, 650)]
    known = inner_products(profiles, profiles[:3])
    for i, a in enumerate(profiles):
        for j, b in enumerate(profiles[:3]):
            integral = (density(a, 1000) * density(b, 1000)).mean() * 1000
            assert known[i, j] == pytest.approx(integral, rel=1e-3)


def stored(widths, count, images=1000):
    return [Profile(exponent_of(width), images * (i + 1) / count) for i in range(count) for width in widths]


def test_a_part_makes_itself():
    parts = stored((0.01, 0.05), 12)
    made = mixture(parts, parts[-1])
    np.testing.assert_allclose(made.weights, [0.0] * (len(parts) - 1) + [1.0], atol=1e-7)
    assert made.error < 1e-6


@pytest.mark.parametrize(("width", "most"), [(0.03, 0.02), (0.1, 0.03), (0.2, 0.06)])
def test_mixtures_are_near_what_was_wanted_and_none_is_nearer(width, most):
    parts, wanted = stored((0.01, 0.05), 40), Profile(exponent_of(width), 1000)
    made = mixture(parts, wanted)
    assert sum(made.weights) == pytest.approx(1)
    densities = np.stack([density(part, 1000) for part in parts])
    aim = density(wanted, 1000)

    def error(weights):
        return math.sqrt(((weights @ densities - aim) ** 2).mean() / (aim**2).mean())

    assert error(made.weights) == pytest.approx(made.error, rel=0.02)
    assert made.error < most
    numbers = np.random.default_rng(0)
    for _ in range(20):
        other = numbers.normal(size=len(parts)) * 0.03
        assert error(made.weights + other - other.mean()) > made.error


def test_a_width_far_below_those_stored_is_told_apart():
    # 10,000 images of half-life, as published for StyleGAN2, in 25 million with a snapshot every 200,000.
    made = mixture(stored((0.01, 0.05), 125), Profile(exponent_of(0.0006), 1000))
    assert made.error > 0.5


# As docs/pages/training.md says.
@pytest.mark.parametrize(("count", "least", "most"), [(20, 0.01, 0.1), (40, 0.007, 0.2), (125, 0.004, 0.25)])
def test_how_many_snapshots_give_which_widths(count, least, most):
    parts = stored((0.01, 0.05), count)
    for width in np.geomspace(least, most, 12):
        assert mixture(parts, Profile(exponent_of(width), 1000)).error < 0.1
    for width in (least * 0.7, most * 1.6):
        if width < WIDEST:
            assert mixture(parts, Profile(exponent_of(width), 1000)).error > 0.1


def test_a_single_part_is_all_there_is():
    assert mixture([Profile(10, 100)], Profile(3, 100)).weights == pytest.approx((1.0,))
