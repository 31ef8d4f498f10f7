"""StyleGAN3's plan against the published layers, and its filters against SciPy's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch

from pipeline.config.families import StyleGAN3Config
from pipeline.errors import UserError
from pipeline.models.stylegan3.filters import jinc, low_pass
from pipeline.models.stylegan3.plan import rows_of, steps_of

T = StyleGAN3Config()
R = StyleGAN3Config(kernel=1, radial=True, channel_base=65536, channel_max=1024)
# Of 1024 pixels, config T (Karras et al. 2021, figure 4): cutoff, stopband, rate, size, channels.
PUBLISHED = [
    (2.00, 4.29, 16, 36, 512),
    (3.17, 6.50, 16, 36, 512),
    (5.04, 9.85, 32, 52, 512),
    (8.00, 14.9, 32, 52, 512),
    (12.7, 22.6, 64, 84, 512),
    (20.2, 34.3, 128, 148, 512),
    (32.0, 52.0, 128, 148, 512),
    (50.8, 78.8, 256, 276, 323),
    (80.6, 119, 256, 276, 203),
    (128, 181, 512, 532, 128),
    (203, 274, 1024, 1044, 81),
    (323, 416, 1024, 1044, 51),
    (512, 630, 1024, 1044, 32),
    (512, 630, 1024, 1024, 32),
    (512, 630, 1024, 1024, 3),
]
# Padding of a layer that keeps the rate, doubles it, crops, and of the image output.
PADDING = {3: [(9, 8), (-6, -9), (-11, -12), (0, 0)], 1: [(11, 10), (-2, -5), (-9, -10), (0, 0)]}


def test_rows_are_the_published_ones():
    for row, (cutoff, stopband, *whole) in zip(rows_of(T, 1024, 3), PUBLISHED, strict=True):
        assert (row.cutoff, row.stopband) == pytest.approx((cutoff, stopband), rel=4e-3)
        assert [row.rate, row.size, row.channels] == whole


@pytest.mark.parametrize("config", [T, R], ids=["t", "r"])
def test_steps_pad_as_published(config):
    steps = steps_of(config, 1024, 3)
    same, up, crop, image = PADDING[config.kernel]
    for number, step in enumerate(steps):
        expected = image if number == 14 else crop if number == 13 else up if step.up == 4 else same
        assert step.padding == expected
        assert (step.up_taps, step.down_taps) == ((1, 1) if number == 14 else (6 * step.up, 12))
        assert step.critical == (number >= 12)
        # What a full convolution, the filters and the padding leave is the row's size.
        sampled = (step.source.size + step.kernel - 1) * step.up + sum(step.padding) - step.up_taps + 1
        assert (sampled - step.down_taps) // step.down + 1 == step.target.size


@pytest.mark.parametrize("resolution", [8, 16, 24, 28, 32, 40, 256, 512, 768])
@pytest.mark.parametrize("layers", [10, 14])
def test_every_resolution_ends_at_its_own_rate_and_frequencies(resolution, layers):
    rows = rows_of(StyleGAN3Config(layers=layers), resolution, 1)
    assert (rows[-1].cutoff, rows[-1].rate, rows[-1].size) == (resolution / 2, resolution, resolution)
    for row in rows:
        assert row.rate >= min(2 * row.stopband, resolution)
        assert resolution % row.rate == 0
        assert row.half_width > 0
    assert all(later.rate in (row.rate, 2 * row.rate) for row, later in pairwise(rows))


@pytest.mark.parametrize(
    ("changes", "resolution", "says"),
    [
        ({}, 4, "8 to 1024 pixels a side, not 4"),
        ({}, 2048, "8 to 1024 pixels a side, not 2048"),
        ({"first_cutoff": 4.0, "first_stopband": 8.0}, 8, "family.first_cutoff: .* allowed: below 4"),
        ({"layers": 4}, 256, "family.layers: with 4 one would raise the sampling rate 4 times at 256"),
        ({"channel_base": 16}, 32, "family.channel_base: 16 leaves no channels .* at least 32"),
    ],
)
def test_what_has_no_plan_is_refused(changes, resolution, says):
    with pytest.raises(UserError, match=says):
        steps_of(StyleGAN3Config(**changes), resolution, 3)


@pytest.mark.parametrize("config", [T, R], ids=["t", "r"])
def test_separable_filters_are_scipys(config):
    for step in steps_of(config, 1024, 3)[:-1]:
        for row, taps in ((step.source, step.up_taps), (step.target, step.down_taps)):
            ours = low_pass(taps, row.cutoff, 2 * row.half_width, step.work_rate)
            theirs = scipy.signal.firwin(taps, row.cutoff, width=2 * row.half_width, fs=step.work_rate)
            torch.testing.assert_close(ours, torch.from_numpy(theirs).float(), rtol=1e-6, atol=1e-8)


def test_radial_filters_are_of_bessel_functions_under_a_kaiser_window():
    for step in steps_of(R, 256, 3)[:-3]:
        row, taps, rate = step.target, step.down_taps, step.work_rate
        places = (np.arange(taps) - (taps - 1) / 2) / rate
        radius = np.hypot(*np.meshgrid(places, places))
        beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, 2 * row.half_width / (rate / 2)))
        window = np.outer(*[scipy.signal.windows.kaiser(taps, beta)] * 2)
        theirs = scipy.special.j1(2 * np.pi * row.cutoff * radius) / (np.pi * radius) * window
        ours = low_pass(taps, row.cutoff, 2 * row.half_width, rate, radial=True)
        torch.testing.assert_close(
            ours, torch.from_numpy(theirs / theirs.sum()).float(), rtol=1e-5, atol=1e-8
        )


def test_radial_filters_have_a_middle():
    """J1(x) / x tends to 1/2."""
    assert jinc(np.array([0.0, 1e-9]), 1.0) == pytest.approx([0.5, 0.5])
    middle = low_pass(5, 1.0, 1.0, 8.0, radial=True)
    assert middle.argmax() == 12
    torch.testing.assert_close(middle, middle.T.flip(0))


def test_one_tap_is_no_filter():
    assert low_pass(1, 1.0, 1.0, 8.0) is None
