"""Each operation of the augmentation pipe with parameters of the test's choice, against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.models.augment import bands, blit, color, corruption, geometry
from pipeline.models.augment.reflect import reflect_pad
from pipeline.models.augment.warp import Warp
from pipeline.models.augment.wavelets import SYM2, SYM6


def images(count: int = 2, channels: int = 3, side: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def moves(flip: int = 1, turns: int = 0, shift: tuple[int, int] = (0, 0), count: int = 2) -> blit.Moves:
    return blit.Moves(
        torch.full((count,), flip), torch.full((count,), turns), torch.tensor(shift).expand(count, 2)
    )


def affine(scale=1.0, first=0.0, stretch=1.0, second=0.0, shift=(0.0, 0.0), count=1) -> geometry.Affine:
    numbers = (torch.tensor([float(value)]).expand(count) for value in (scale, first, stretch, second))
    return geometry.inverse(*numbers, torch.tensor([shift]).float().expand(count, 2))


def mirrored(side: int, places: np.ndarray) -> np.ndarray:
    """Which pixel a place shows when both borders are mirrors, step by step."""
    out = np.array(places)
    while ((out < 0) | (out >= side)).any():
        out = np.where(out < 0, -out, out)
        out = np.where(out >= side, 2 * (side - 1) - out, out)
    return out


@pytest.mark.parametrize("taps", [SYM2, SYM6])
def test_wavelets_are_orthonormal_with_vanishing_moments(taps):
    h = np.array(taps)
    order = len(h) // 2
    for shift in range(order):
        product = (h[2 * shift :] * h[: len(h) - 2 * shift]).sum()
        assert product == pytest.approx(float(shift == 0), abs=1e-12)
    signs = (-1.0) ** np.arange(len(h))
    for moment in range(order):
        assert (signs * np.arange(len(h)) ** moment * h).sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("x", "y"), [(3, 0), (15, 2), (40, 50)])
def test_reflection_goes_on_for_ever(x, y):
    image = images()
    columns, rows = mirrored(16, np.arange(-x, 16 + x)), mirrored(16, np.arange(-y, 16 + y))
    torch.testing.assert_close(reflect_pad(image, x, y), image[:, :, rows][:, :, :, columns], rtol=0, atol=0)


def test_flip_and_turns_are_exact():
    image = images(side=15)
    assert torch.equal(blit.move(image, moves()), image)
    assert torch.equal(blit.move(image, moves(flip=-1)), image.flip(3))
    for turns in range(4):
        for flip, flipped in ((1, image), (-1, image.flip(3))):  # the flip comes first
            wanted = torch.rot90(flipped, turns, (2, 3))
            assert torch.equal(blit.move(image, moves(flip, turns)), wanted)


@pytest.mark.parametrize(("x", "y"), [(2, 0), (0, -3), (-1, 2), (20, -40)])
def test_whole_translation_is_exact_and_comes_after_the_turn(x, y):
    image = images()
    columns, rows = mirrored(16, np.arange(16) - x), mirrored(16, np.arange(16) - y)
    shifted = image[:, :, rows][:, :, :, columns]
    assert torch.equal(blit.move(image, moves(shift=(x, y))), shifted)
    turned = torch.rot90(image, 1, (2, 3))[:, :, rows][:, :, :, columns]
    assert torch.equal(blit.move(image, moves(turns=1, shift=(x, y))), turned)


def test_each_sample_moves_by_its_own_parameters():
    image = images(count=3)
    mixed = blit.Moves(torch.tensor([1, -1, 1]), torch.tensor([0, 0, 3]), torch.zeros(3, 2).long())
    wanted = torch.stack([image[0], image[1].flip(2), torch.rot90(image[2], 3, (1, 2))])
    assert torch.equal(blit.move(image, mixed), wanted)


def test_the_warp_gives_the_image_back_for_the_identity():
    image = images(side=32)
    torch.testing.assert_close(Warp()(image, affine(count=2)), image, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("x", "y"), [(3, -2), (-1, 4)])
def test_the_warp_shifts_whole_pixels_without_loss(x, y):
    image = images(side=32)
    shifted = Warp()(image, affine(count=2).after(torch.tensor([[x, y]])))
    wanted = blit.move(image, moves(shift=(x, y)))
    inside = slice(8, -8)  # mirrors of noise differ from noise of mirrors by what sym6 is asymmetric
    torch.testing.assert_close(shifted[:, :, inside, inside], wanted[:, :, inside, inside], rtol=0, atol=5e-5)


def smooth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An image without detail, at places in centred pixels."""
    return np.sin(0.11 * x + 0.07 * y + 0.3) + 0.5 * np.cos(0.13 * y - 0.05 * x)


TRANSFORMS = {
    "scale": {"scale": 1.3},
    "shrink": {"scale": 0.8},
    "rotation": {"first": 0.5},
    "half turn": {"second": math.pi},
    "stretch": {"stretch": 1.25},
    "shift": {"shift": (2.3, -1.6)},
    "all": {"scale": 1.1, "first": 0.4, "stretch": 0.85, "second": -0.9, "shift": (1.5, 2.25)},
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_geometry_against_closed_form(name):
    """Forward: target = R(second) diag(s, 1/s) R(first) scale source + shift, y down, angles clockwise."""
    side, chosen = 64, TRANSFORMS[name]
    ys, xs = np.mgrid[:side, :side] - (side - 1) / 2
    image = torch.tensor(smooth(xs, ys)).float()[None, None]

    def turn(angle):
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    s = chosen.get("stretch", 1.0)
    forward = turn(chosen.get("second", 0)) @ np.diag([s, 1 / s]) @ turn(chosen.get("first", 0))
    back = np.linalg.inv(forward * chosen.get("scale", 1.0))
    shift = np.array(chosen.get("shift", (0, 0)))[:, None]
    sources = back @ (np.stack([xs.ravel(), ys.ravel()]) - shift)
    wanted = smooth(*sources).reshape(side, side)
    seen = (np.abs(sources).max(axis=0) < side / 2 - 6).reshape(side, side)  # not mirrored
    warped = Warp()(image, affine(**chosen))[0, 0].numpy()
    assert seen.mean() > 0.3
    assert np.abs(warped - wanted)[seen].max() < 0.01


def test_geometry_beyond_the_border_is_a_mirror():
    side = 48
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(side, side)), 3, mode="mirror") * 5
    matrix = geometry.rotation(torch.tensor([0.7]))[0].numpy().astype(float) / 0.5  # shrunk to half
    ours = Warp()(torch.tensor(image).float()[None, None], affine(scale=0.5, first=-0.7))[0, 0].numpy()
    # scipy's axes are (y, x), the origin the first pixel; shrinking to half loses little of a smooth image.
    swapped, middle = matrix[::-1, ::-1], np.full(2, (side - 1) / 2)
    wanted = ndimage.affine_transform(image, swapped, middle - swapped @ middle, order=3, mode="mirror")
    assert np.abs(ours - wanted).max() < 0.08 * image.std()


def colors(brightness=0.0, contrast=1.0, luma=1.0, hue=0.0, saturation=1.0, count=2) -> color.Colors:
    numbers = (brightness, contrast, luma, hue, saturation)
    return color.Colors(*(torch.full((count,), float(value)) for value in numbers))


def test_colour_operations_against_closed_forms():
    image = images()
    rgb = image.permute(0, 2, 3, 1).double().numpy()

    def check(chosen: color.Colors, wanted: np.ndarray) -> None:
        ours = color.recolor(image, chosen).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(ours, wanted, atol=2e-6)

    axis = np.ones(3) / np.sqrt(3)
    along = (rgb @ axis)[..., None] * axis
    angle = 0.8
    rodrigues = rgb * np.cos(angle) + np.cross(axis, rgb) * np.sin(angle) + along * (1 - np.cos(angle))
    assert torch.equal(color.recolor(image, colors()), image)
    check(colors(brightness=0.3), rgb + 0.3)
    check(colors(contrast=1.7), rgb * 1.7)
    check(colors(luma=-1), rgb @ (np.eye(3) - 2 * np.outer(axis, axis)))
    check(colors(hue=angle), rodrigues)
    check(colors(saturation=0.4), along + 0.4 * (rgb - along))
    check(colors(saturation=0), np.repeat(rgb.mean(axis=-1, keepdims=True), 3, axis=-1))
    check(colors(hue=2 * np.pi / 3), rgb[..., [2, 0, 1]])  # a third of a turn: red becomes green


def test_colour_operations_come_in_order():
    image = images()
    one = color.recolor(image, colors(0.2, 1.5, -1, 0.6, 2.0))
    steps = (colors(0.2), colors(contrast=1.5), colors(luma=-1), colors(hue=0.6), colors(saturation=2.0))
    after = image
    for step in steps:
        after = color.recolor(after, step)
    torch.testing.assert_close(one, after, rtol=0, atol=5e-6)


def test_grey_has_brightness_contrast_and_luma_alone():
    image = images(channels=1)
    ours = color.recolor(image, colors(0.2, 1.5, -1, 0.6, 2.0))
    torch.testing.assert_close(ours, -1.5 * (image + 0.2))
    as_rgb = color.recolor(image.expand(-1, 3, -1, -1), colors(0.2, 1.5, -1, 0.6, 2.0))
    torch.testing.assert_close(as_rgb, ours.expand(-1, 3, -1, -1), rtol=0, atol=5e-6)


def test_bands_add_up_to_the_identity_and_cover_their_octaves():
    bank = bands.filter_bank()
    assert bank.shape == (4, 43)
    torch.testing.assert_close(bank.sum(0), torch.eye(43, dtype=torch.float64)[21], rtol=0, atol=1e-14)
    torch.testing.assert_close(bank, bank.flip(1), rtol=0, atol=1e-14)  # zero phase
    frequencies = np.linspace(0, np.pi, 257)
    response = bank.numpy() @ np.cos(np.outer(np.arange(43) - 21, frequencies))

    def low(w: np.ndarray) -> np.ndarray:
        return np.abs(np.exp(-1j * np.outer(w, np.arange(4))) @ np.array(SYM2)) ** 2 / 2

    one, two, four = (low(k * frequencies) for k in (1, 2, 4))
    wanted = [one * two * four, one * two * (1 - four), one * (1 - two), 1 - one]
    np.testing.assert_allclose(response, wanted, atol=1e-12)
    strongest = response[:, [8, 48, 96, 192]].argmax(axis=0)  # one frequency of each octave
    assert strongest.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("side", [16, 64])
def test_filter_with_gains_of_one_is_the_identity(side):
    image = images(side=side)
    assert torch.equal(bands.BandFilter()(image, torch.ones(2, 4)), image)
    almost = torch.tensor([[1, 1, 1, 1 + 1e-6]]).expand(2, 4)  # takes the long way
    torch.testing.assert_close(bands.BandFilter()(image, almost), image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("band", range(4))
@pytest.mark.parametrize("axis", [2, 3])
def test_a_gain_amplifies_its_band(band, axis):
    """cos(w k) reflects into itself at both ends: filtered, it is itself times the filter's response."""
    side = 65
    half_periods = (2, 12, 24, 64)[band]
    wave = torch.cos(math.pi * half_periods * torch.arange(side) / (side - 1)).float()
    image = (wave[:, None] if axis == 2 else wave[None, :]).expand(1, 2, side, side)
    gains = torch.ones(1, 4)
    gains[0, band] = 3.0
    ours = bands.BandFilter()(image, gains)
    places = (torch.arange(43) - 21.0).double()
    response = (bands.filter_bank() * torch.cos(math.pi * half_periods / (side - 1) * places)).sum(1)
    along, across = (gains.double() @ response).item(), 3.0 if band == 0 else 1.0
    torch.testing.assert_close(ours, image * (along * across), rtol=0, atol=2e-4)
    assert along > 2.2  # most of the threefold gain arrives
    others = torch.where(torch.arange(4) == band, 1.0, 3.0)[None]
    assert (others.double() @ response).item() < 1.8


def test_noise_has_its_level():
    level = torch.tensor([0.0, 0.25])
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    added = corruption.add_noise(torch.zeros(2, 3, 64, 64), level, noise)
    assert not added[0].any()
    assert added[1].std().item() == pytest.approx(0.25, rel=0.03)


def test_cutout_is_half_a_side_wide_about_its_centre():
    image = images(count=3, side=32) + 3
    cut = corruption.cut_out(image, torch.tensor([[0.5, 0.3], [0.0, 0.99], [torch.inf, torch.inf]]))
    hole = (cut == 0).all(1)
    wanted = torch.zeros(3, 32, 32, dtype=torch.bool)
    wanted[0, 2:18, 8:24] = True  # y: .3 * 32 -+ 8, x: 16 -+ 8
    wanted[1, 24:, :8] = True
    assert torch.equal(hole, wanted)
    assert torch.equal(cut[:, 0][~hole], image[:, 0][~hole])
