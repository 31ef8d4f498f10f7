"""DiffAugment against the law and the formulas of Zhao et al. 2020, written image by image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck

from pipeline.models.augment import DiffAugment
from pipeline.randomness import SampleRandomness

SIZE = (12, 20)  # height, width
MANY = 3000
KINDS = ("color", "translation", "cutout")


def images(count: int = 4, channels: int = 3, size=SIZE, dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    numbers = torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))
    return numbers.to(dtype) * 2 - 1


def streams(count: int = 4) -> SampleRandomness:
    return SampleRandomness(range(count))


@pytest.fixture(scope="module")
def many():
    return DiffAugment(p_color=0.5, p_flip=0.4).draw(streams(MANY), SIZE)


def expected(image: torch.Tensor, drawn, i: int) -> torch.Tensor:
    """One image [C, H, W], operation by operation and pixel by pixel."""
    _, height, width = image.shape
    if drawn.tint is not None:
        image = image + drawn.tint.brightness[i]
        pixel = image.mean(dim=0)
        image = pixel + (image - pixel) * drawn.tint.saturation[i]
        mean = image.mean()
        image = mean + (image - mean) * drawn.tint.contrast[i]
    if drawn.flip is not None and drawn.flip[i]:
        image = image.flip(2)
    if drawn.shift is not None:
        right, down = drawn.shift[i].tolist()
        moved = torch.zeros_like(image)
        for y in range(height):
            for x in range(width):
                if 0 <= y - down < height and 0 <= x - right < width:
                    moved[:, y, x] = image[:, y - down, x - right]
        image = moved
    if drawn.hole is not None:
        left, top = drawn.hole[i].tolist()
        image = image.clone()
        image[:, max(top, 0) : max(top + 6, 0), max(left, 0) : max(left + 10, 0)] = 0  # half of 12 and 20
    return image


# ---- what is done


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kinds", [KINDS, *[(kind,) for kind in KINDS], ()])
def test_it_is_the_papers_formulas(kinds, channels):
    drawn = DiffAugment(kinds, p_flip=0.5).draw(streams(8), SIZE)
    shown = drawn(images(8, channels))
    for i, image in enumerate(images(8, channels)):
        torch.testing.assert_close(shown[i], expected(image, drawn, i), rtol=1e-5, atol=1e-6)


def test_opacity_is_no_colour_and_latents_are():
    rgba = images(channels=4)
    shown = DiffAugment(("color",), colors=3).draw(streams(), SIZE)(rgba)
    assert torch.equal(shown[:, 3], rgba[:, 3])
    torch.testing.assert_close(shown[:, :3], DiffAugment(("color",)).draw(streams(), SIZE)(rgba[:, :3]))
    latents = DiffAugment(("color",)).draw(streams(), SIZE)(rgba)
    assert not torch.allclose(latents[:, 3], rgba[:, 3], atol=1e-3)


def test_without_anything_to_do_the_images_come_back():
    picture = images()
    still = DiffAugment(("color",), p_color=0.0).draw(streams(), SIZE)
    assert torch.equal(still(picture), picture)
    assert torch.equal(DiffAugment(()).draw(streams(), SIZE)(picture), picture)
    assert DiffAugment().draw(streams(), SIZE)(picture.bfloat16()).dtype == torch.float32


# ---- how often and how far


def uniform(values: torch.Tensor, low: float, high: float) -> None:
    """Fails for uniform numbers less than once in 10^5 times."""
    assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-5


def evenly(values: torch.Tensor, wanted: range) -> None:
    """Fails for numbers that are drawn evenly from `wanted` less than once in 10^5 times."""
    counts = torch.bincount(values - wanted.start, minlength=len(wanted))
    assert len(counts) == len(wanted)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-5


def test_parameters_have_the_papers_laws(many):
    on = many.tint.contrast != 1
    assert stats.binomtest(int(on.sum()), MANY, 0.5).pvalue > 1e-5
    assert stats.binomtest(int(many.flip.sum()), MANY, 0.4).pvalue > 1e-5
    uniform(many.tint.brightness[on], -0.5, 0.5)
    uniform(many.tint.saturation[on], 0, 2)
    uniform(many.tint.contrast[on], 0.5, 1.5)
    assert (many.tint.brightness[~on] == 0).all()
    assert (many.tint.saturation[~on] == 1).all()
    # 1/8 of 20 and of 12 are 2.5 and 1.5 pixels, which the authors' code rounds up.
    evenly(many.shift[:, 0], range(-3, 4))
    evenly(many.shift[:, 1], range(-2, 3))
    # Halves of 10 and 6: around each of the places between pixels, the border's two among them.
    evenly(many.hole[:, 0], range(-5, 16))
    evenly(many.hole[:, 1], range(-3, 10))


def test_odd_holes_are_centred_on_pixels():
    drawn = DiffAugment(("cutout",)).draw(streams(MANY), (10, 6))  # holes of 5 and 3
    evenly(drawn.hole[:, 0], range(-1, 5))
    evenly(drawn.hole[:, 1], range(-2, 8))
    hidden = drawn(torch.ones(MANY, 1, 10, 6)) == 0
    assert hidden.flatten(1).sum(1).max() == 15
    assert hidden.flatten(1).sum(1).min() == 6


def test_the_numbers_of_a_sample_are_its_own():
    whole = DiffAugment(p_color=0.5, p_flip=0.5).draw(SampleRandomness([5, 6, 7]), SIZE)
    alone = DiffAugment(p_color=0.5, p_flip=0.5).draw(SampleRandomness([6]), SIZE)
    assert torch.equal(whole(images(3))[1:2], alone(images(3)[1:2]))
    partly = DiffAugment(("cutout",)).draw(SampleRandomness([5, 6, 7]), SIZE)
    assert torch.equal(partly.hole, whole.hole)


# ---- again, and to what belongs to the images


def test_it_does_the_same_again():
    drawn = DiffAugment().draw(streams(), SIZE)
    assert torch.equal(drawn(images()), drawn(images()))
    assert not torch.allclose(
        drawn(images()), DiffAugment().draw(SampleRandomness(range(4, 8)), SIZE)(images())
    )


def test_masks_move_with_their_images():
    drawn = replace(DiffAugment(p_flip=0.5).draw(streams(8), SIZE), tint=None, hole=None)
    picture = images(8)
    assert torch.equal(drawn.moved((picture > 0).long()), (drawn(picture) > 0).long())
    larger = picture.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    moved = drawn(picture).repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    assert torch.equal(drawn.moved(larger), moved)  # by the same part of the sides


def test_means_may_be_those_of_other_images():
    """With the means of a reference, of its own state before any change, levels of one image change alike."""
    n = 4
    drawn = DiffAugment(("color",)).draw(streams(n), SIZE)
    reference, other = images(n), images(n, seed=1)
    fixed = drawn.about(reference)
    tint = drawn.tint
    for i in range(n):
        pixel, mean = reference[i].mean(dim=0), reference[i].mean()
        x = other[i] + tint.brightness[i]
        x = (x - pixel) * tint.saturation[i] + pixel
        x = (x - mean) * tint.contrast[i] + mean
        torch.testing.assert_close(fixed(other)[i], x, rtol=1e-5, atol=1e-6)
    # So it is affine, with the same slope everywhere: what finite differences of a replay need.
    step = 0.01 * images(n, seed=2)
    slope = (tint.saturation * tint.contrast)[:, None, None, None]
    torch.testing.assert_close(fixed(other + step) - fixed(other), slope * step, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(fixed(reference), drawn(reference), atol=1e-3)  # the means after brightness


def test_derivatives_of_first_and_second_order():
    drawn = DiffAugment(p_flip=0.5).draw(streams(2), (4, 6))
    x = images(2, size=(4, 6), dtype=torch.float64).requires_grad_()
    assert drawn(x).dtype == torch.float64
    assert gradcheck(drawn, x)
    assert gradgradcheck(drawn, x)
