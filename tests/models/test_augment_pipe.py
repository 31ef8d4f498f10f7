"""The whole pipe: how often operations fire, whose numbers they use, and its derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck, gradgradcheck

from pipeline.config.families import AdaConfig
from pipeline.contracts import Batch, Stage, Verdict
from pipeline.losses import ZeroCentred
from pipeline.models.augment import Augment, bands, blit, color, corruption, geometry
from pipeline.models.augment.draws import Draws
from pipeline.models.augment.warp import look_up
from pipeline.randomness import SampleRandomness

KINDS = ("blit", "geometry", "color", "filter", "noise", "cutout")
MANY = 4000


def pipe(kinds=KINDS, side: int = 16, channels: int = 3) -> Augment:
    return Augment(AdaConfig(mode="fixed", kinds=kinds), (side, side), channels)


def images(count: int = 4, channels: int = 3, side: int = 16, dtype=torch.float32) -> torch.Tensor:
    return (
        torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)).to(dtype) * 2 - 1
    )


class Counted:
    """Randomness that tells what was drawn, each call's shape."""

    def __init__(self, inner: SampleRandomness) -> None:
        self.inner, self.calls = inner, []

    def normal(self, *shape: int) -> torch.Tensor:
        self.calls.append(("normal", shape))
        return self.inner.normal(*shape)

    def uniform(self, *shape: int) -> torch.Tensor:
        self.calls.append(("uniform", shape))
        return self.inner.uniform(*shape)


@pytest.fixture(scope="module")
def streams() -> SampleRandomness:
    return SampleRandomness(range(MANY))


def draws(streams: SampleRandomness, p: float) -> Draws:
    return Draws(streams, torch.tensor(p), 7, 4)


def share(happened: torch.Tensor, expected: float) -> None:
    """Fails if so many of them would happen by chance less than once in 10^5 times."""
    chance = stats.binomtest(int(happened.sum()), happened.numel(), expected).pvalue
    assert chance > 1e-5, f"{happened.float().mean()} instead of {expected}"


def normal(values: torch.Tensor, std: float) -> None:
    assert stats.kstest(values.numpy(), stats.norm(0, std).cdf).pvalue > 1e-4


def flat(values: torch.Tensor, low: float, high: float) -> None:
    assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kinds", [*[(kind,) for kind in KINDS], KINDS])
def test_p_of_zero_is_the_identity_bit_for_bit(kinds, channels):
    image = images(channels=channels)
    out = pipe(kinds, channels=channels)(image, SampleRandomness(range(4)), torch.tensor(0.0))
    assert torch.equal(out, image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kinds", [*[(kind,) for kind in KINDS], KINDS])
def test_p_of_one_changes_images_and_keeps_their_shape(kinds, channels):
    image = images(8, channels)
    out = pipe(kinds, channels=channels)(image, SampleRandomness(range(8)), torch.tensor(1.0))
    assert out.shape == image.shape
    assert torch.isfinite(out).all()
    assert (out != image).flatten(1).any(dim=1).float().mean() >= 0.75


def test_half_precision_is_computed_in_float32():
    image = images(dtype=torch.bfloat16)
    ours = pipe()(image, SampleRandomness(range(4)), torch.tensor(0.7))
    assert torch.equal(ours, pipe()(image.float(), SampleRandomness(range(4)), torch.tensor(0.7)))


def test_blits_fire_and_spread_as_the_paper_says(streams):
    moves = blit.draw_moves(draws(streams, 0.3), (64, 64))
    share(moves.flip == -1, 0.15)
    for turns in (1, 2, 3):
        share(moves.turns == turns, 0.3 / 4)
    share((moves.shift != 0).any(dim=1), 0.3 * (1 - 1 / 256))
    moves = blit.draw_moves(draws(streams, 1.0), (8000, 8000))
    flat(moves.shift.flatten().double(), -1000.5, 1000.5)
    assert 995 < moves.shift.abs().max() <= 1000
    moves = blit.draw_moves(draws(streams, 1.0), (64, 64))
    assert moves.shift.abs().max() == 8
    share(moves.shift == 3, 1 / 16)


def test_geometry_fires_and_spreads_as_the_paper_says(streams, monkeypatch):
    seen = {}
    names = ("scale", "first", "stretch", "second", "shift")
    plain = geometry.inverse
    monkeypatch.setattr(
        geometry, "inverse", lambda *given: (seen.update(zip(names, given, strict=True)), plain(*given))[1]
    )
    affine = geometry.draw_affine(draws(streams, 0.3), (64, 64))
    share(seen["scale"] != 1, 0.3)
    share(seen["stretch"] != 1, 0.3)
    share(seen["first"] != 0, 1 - math.sqrt(0.7))
    share(seen["second"] != 0, 1 - math.sqrt(0.7))
    share((seen["first"] != 0) | (seen["second"] != 0), 0.3)  # one or the other: p
    share((seen["shift"] != 0).any(dim=1), 0.3)
    share(affine.still, 0.7**4)
    geometry.draw_affine(draws(streams, 1.0), (64, 64))
    normal(seen["scale"].log2(), 0.2)
    normal(seen["stretch"].log2(), 0.2)
    flat(seen["first"], -math.pi, math.pi)
    flat(seen["second"], -math.pi, math.pi)
    normal(seen["shift"].flatten() / 64, 0.125)


def test_colours_fire_and_spread_as_the_paper_says(streams):
    colors = color.draw_colors(draws(streams, 0.3))
    share(colors.brightness != 0, 0.3)
    share(colors.contrast != 1, 0.3)
    share(colors.luma == -1, 0.15)
    share(colors.hue != 0, 0.3)
    share(colors.saturation != 1, 0.3)
    colors = color.draw_colors(draws(streams, 1.0))
    normal(colors.brightness, 0.2)
    normal(colors.contrast.log2(), 0.5)
    normal(colors.saturation.log2(), 1.0)
    flat(colors.hue, -math.pi, math.pi)


def test_bands_fire_and_keep_the_expected_power(streams):
    gains = bands.draw_gains(draws(streams, 0.3))
    share((gains == 1).all(dim=1), 0.7**4)
    power = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13
    for band in range(4):
        fixed = Draws(_OnlyBand(band), torch.tensor(0.5), 4, 4)
        ours = bands.draw_gains(fixed)
        wanted = torch.ones(1, 4)
        wanted[0, band] = 2.0**1.5
        wanted = wanted / (power * wanted.square()).sum().sqrt()
        torch.testing.assert_close(ours, wanted)


class _OnlyBand:
    """One sample whose numbers make one band fire, with a log2 gain of 1.5."""

    def __init__(self, band: int) -> None:
        self.band = band

    def uniform(self, count: int) -> torch.Tensor:
        return torch.where(torch.arange(count) == self.band, 0.1, 0.9)[None]

    def normal(self, count: int) -> torch.Tensor:
        return torch.full((1, count), 1.5)


def test_noise_and_cutout_fire_and_spread_as_the_paper_says(streams):
    share(corruption.draw_noise_level(draws(streams, 0.3)) > 0, 0.3)
    level = corruption.draw_noise_level(draws(streams, 1.0))
    assert stats.kstest(level.numpy(), stats.halfnorm(0, 0.1).cdf).pvalue > 1e-4
    share(corruption.draw_hole(draws(streams, 0.3)).isfinite().all(dim=1), 0.3)
    centre = corruption.draw_hole(draws(streams, 1.0))
    flat(centre[:, 0], 0, 1)
    flat(centre[:, 1], 0, 1)


def test_blit_and_geometry_join_without_losing_what_was_pushed_out_of_sight(monkeypatch):
    """Flip, turn, shift by (20, -12), shrink: the shrunk image shows what the shift alone would hide."""
    side = 64

    def smooth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.sin(0.11 * x + 0.07 * y + 0.3) + 0.5 * torch.cos(0.13 * y - 0.05 * x)

    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    one, none = torch.ones(1), torch.zeros(1)
    shift = torch.tensor([[20, -12]])
    moves = blit.Moves(torch.tensor([-1]), torch.tensor([1]), shift)
    shrunk = geometry.inverse(one * 0.6, none, one, none, torch.zeros(1, 2))
    monkeypatch.setattr(blit, "draw_moves", lambda *given: moves)
    monkeypatch.setattr(geometry, "draw_affine", lambda *given: shrunk)
    ours = pipe(("blit", "geometry"), side)(
        smooth(x, y)[None, None], SampleRandomness([0]), torch.tensor(1.0)
    )
    # Back: unshrink, unshift, turn clockwise, unflip; an anticlockwise turn takes (x, y) to (y, -x).
    back_x, back_y = x / 0.6 - 20, y / 0.6 + 12
    back_x, back_y = -back_y, back_x
    back_x = -back_x
    seen = torch.maximum(back_x.abs(), back_y.abs()) < side / 2 - 6
    hidden = seen & (torch.maximum((x / 0.6).abs(), (y / 0.6).abs()) > side / 2)
    assert hidden.sum() > 100
    assert (ours[0, 0] - smooth(back_x, back_y))[seen].abs().max() < 0.01


def test_an_image_does_not_depend_on_its_neighbours():
    image, p = images(6), torch.tensor(0.6)
    together = pipe()(image, SampleRandomness(range(6)), p)
    for i in (0, 3, 5):
        alone = pipe()(image[i : i + 1], SampleRandomness([i]), p)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


def test_draws_are_as_many_for_any_p_and_go_on_in_the_stream():
    calls = []
    for p in (0.0, 0.5, 1.0):
        counted = Counted(SampleRandomness(range(4)))
        augment = pipe()
        first = augment(images(), counted, torch.tensor(p))
        calls.append(counted.calls)
        again = augment(images(), counted, torch.tensor(p))
        assert torch.equal(first, again) == (p == 0.0)  # reals and fakes get draws of their own
    assert calls[0][:3] == calls[1][:3] == calls[2][:3]
    assert calls[0][:3] == [("uniform", (29,)), ("normal", (12,)), ("normal", (3, 16, 16))]


@pytest.mark.parametrize("kind", KINDS)
def test_each_group_uses_all_the_numbers_that_it_draws(kind, monkeypatch):
    left = []

    class Watched(Draws):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            left.append(self)

    monkeypatch.setattr("pipeline.models.augment.pipe.Draws", Watched)
    pipe((kind,))(images(), SampleRandomness(range(4)), torch.tensor(0.5))
    assert list(left[0]._uniforms) == []
    assert list(left[0]._normals) == []


def test_the_lookup_is_adjoint_to_its_derivative():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(2, 7, 8, 2, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    y = torch.randn(2, 3, 7, 8, generator=generator, dtype=torch.float64)
    looked = look_up(x, grid)
    (spread,) = torch.autograd.grad(looked, x, y)
    assert (looked * y).sum().item() == pytest.approx((x * spread).sum().item(), rel=1e-12)
    assert gradcheck(lambda x: look_up(x, grid), (x,))
    assert gradgradcheck(lambda x: look_up(x, grid), (x,))


def test_the_lookup_equals_torchs_own():
    x = torch.randn(2, 3, 9, 9, requires_grad=True)
    grid = torch.rand(2, 7, 8, 2) * 2.4 - 1.2
    own = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=True)
    ours, y = look_up(x, grid), torch.randn(2, 3, 7, 8)
    torch.testing.assert_close(ours, own)
    torch.testing.assert_close(torch.autograd.grad(ours, x, y)[0], torch.autograd.grad(own, x, y)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pipe_is_differentiable_twice(channels):
    augment, p = pipe(side=4, channels=channels), torch.tensor(0.7)
    image = images(2, channels, 4, torch.float64).requires_grad_()

    def nonlinear(x: torch.Tensor) -> torch.Tensor:
        return augment(x, SampleRandomness([11, 12]), p).sin()  # else its second derivative is zero

    assert gradcheck(nonlinear, (image,))
    assert gradgradcheck(nonlinear, (image,))


class _Judge:
    """A game of one linear-quadratic discriminator behind the pipe."""

    def __init__(self, augment, weight: torch.Tensor, p: float) -> None:
        self.augment, self.weight, self.p = augment, weight, torch.tensor(p)
        self.stage = Stage(1, 1.0, 4, {})

    def judge(self, image: torch.Tensor, labels: None, *, exact: bool) -> Verdict:
        assert exact
        shown = self.augment(image, SampleRandomness(range(len(image))), self.p)
        return Verdict((shown * self.weight).sum(dim=[1, 2, 3]).square())


def test_r1_differentiates_through_the_pipe_to_the_image_before_it():
    """|d D(A x) / d x| with D(y) = <w, y>^2 is 2 |<w, A x>| |A^T w|; its gradient must reach w."""
    kinds = ("blit", "geometry", "color")  # linear, but for brightness
    augment, image = pipe(kinds), images()
    weight = images(1)[0].requires_grad_()
    terms = ZeroCentred(2.0)(_Judge(augment, weight, 0.8), Batch(image))
    (gradient,) = torch.autograd.grad(terms.loss.sum(), weight)
    assert gradient.abs().max() > 0

    def shown(x: torch.Tensor) -> torch.Tensor:
        return augment(x, SampleRandomness(range(4)), torch.tensor(0.8))

    x = image.clone().requires_grad_()
    (adjoint,) = torch.autograd.grad((shown(x) * weight.detach()).sum(), x)
    inner = (shown(image) * weight.detach()).sum(dim=[1, 2, 3])
    wanted = 4 * inner.square() * adjoint.square().sum(dim=[1, 2, 3])
    torch.testing.assert_close(terms.loss.detach(), wanted, rtol=1e-4, atol=0)
