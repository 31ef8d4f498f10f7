"""Finite differences against closed forms and expectations, and against the exact slopes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, LevelledGame, Networks, ReplayedGame, Stage, Verdict
from pipeline.losses import ADVERSARIAL, DiscriminatorTurn, Exact, FiniteDifferences, ZeroCentred
from pipeline.randomness import SampleRandomness
from tests.losses.plays import SHAPE, SIZE, Quadratic

N, Z, MANY = 4, 3, 40_000
LOSS = ADVERSARIAL["wasserstein"]


class Plenty:
    """The numbers of very many samples, from one generator."""

    def __init__(self, seed: int, count: int = MANY) -> None:
        self._draws, self.count = torch.Generator().manual_seed(seed), count

    def first(self, count: int) -> Plenty:
        assert count == self.count
        return self

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self._draws)


@dataclass
class Replayed:
    """Shows images darker, each by a factor that is drawn; notes passes. Levelled if the generator is."""

    networks: Networks
    randomness: SampleRandomness | Plenty = field(default_factory=lambda: SampleRandomness(range(N)))
    shades: bool = True
    stage: Stage = field(default_factory=lambda: Stage(2, 1.0, N, {}))
    passes: list[tuple[int, bool]] = field(default_factory=list)

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        z = self.randomness.first(count).normal(Z).double()
        return Fakes(self.networks.generator(z).view(-1, *SHAPE), labels, z)

    def draw_judge(self, count: int):
        shade = self.randomness.first(count).normal(1, 1, 1).double() if self.shades else 1.0

        def judge(seen, labels, *, exact=False):
            (images,) = seen
            self.passes.append((len(images), exact))
            return self.networks.discriminator(images * shade)

        return judge

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.draw_judge(len(images))((images,), labels, exact=exact)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        judges = self.draw_judge(len(reals)), self.draw_judge(len(reals))
        return self.judge_both_by(judges, fakes, reals, exact=exact)

    def judge_both_by(self, judges, fakes, reals, *, exact=False):
        first, second = judges
        return (
            first(fakes.seen, fakes.labels, exact=exact),
            second((reals.images,), reals.labels, exact=exact),
        )


class Linear(nn.Module):
    """D(x) = <w, x>, of two heads: one of a logit, one of three that add to nothing but a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, SIZE, dtype=torch.float64))

    def forward(self, images: Tensor) -> Verdict:
        logits = images.flatten(1) @ self.weight.T
        return Verdict([logits[:, 0], logits[:, 1:]])


def networks(discriminator: nn.Module | None = None) -> Networks:
    torch.manual_seed(1)
    return Networks(nn.Linear(Z, SIZE, dtype=torch.float64), discriminator or Linear())


def images(count: int = N, seed: int = 2) -> Tensor:
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, expected: Tensor, rtol: float = 1e-6) -> None:
    torch.testing.assert_close(ours, expected, rtol=rtol, atol=1e-9)


# ---- closed forms


@pytest.mark.parametrize("directions", [1, 3])
def test_of_a_linear_discriminator_it_is_the_square_of_the_slope_along_each_direction(directions):
    """Along e, the slope is <w, e> times the shade that the image is shown in; w adds up all logits."""
    nets = networks()
    squares = FiniteDifferences(0.3, directions).of(Replayed(nets), Batch(images()), "reals")
    streams = SampleRandomness(range(N))
    shade = streams.normal(1, 1, 1).double()[:, 0, 0, 0]
    along = [streams.normal(*SHAPE).double().flatten(1) for _ in range(directions)]
    whole = nets.discriminator.weight.sum(dim=0)
    close(squares, torch.stack([(e @ whole * shade).square() for e in along]).mean(dim=0))


def test_the_expectation_of_a_quadratic_has_the_hessian_in_it():
    """(e . g + h/2 e^T H e)^2 has the mean |g|^2 + h^2/4 ((tr H)^2 + 2 |H|^2)."""
    step, judge = 0.5, Quadratic()
    game = Replayed(networks(judge), Plenty(3), shades=False)
    alike = images(1).expand(MANY, -1, -1, -1)
    with torch.no_grad():
        squares = FiniteDifferences(step).of(game, Batch(alike), "reals")
        hessian, slope = judge.matrix, torch.from_numpy(judge.slopes(images(1)))
        bent = step**2 / 4 * (hessian.trace().square() + 2 * hessian.square().sum())
        expected = slope.square().sum() + bent
    assert float(bent) > 0.05 * float(expected)
    assert float(squares.mean()) == pytest.approx(float(expected), rel=0.03)


def test_one_direction_scatters_by_the_root_of_two():
    game = Replayed(networks(), Plenty(4), shades=False)
    with torch.no_grad():
        squares = FiniteDifferences().of(game, Batch(images(1).expand(MANY, -1, -1, -1)), "reals")
        exact = game.networks.discriminator.weight.sum(dim=0).square().sum()
    assert float(squares.mean()) == pytest.approx(float(exact), rel=0.03)
    assert float(squares.std()) == pytest.approx(2**0.5 * float(exact), rel=0.05)


# ---- beside the exact slopes


class Bent(nn.Module):
    """v . tanh(A x)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(SIZE, 5, dtype=torch.float64)
        self.outer = nn.Linear(5, 1, dtype=torch.float64)

    def forward(self, images: Tensor) -> Verdict:
        return Verdict(self.outer(torch.tanh(self.inner(images.flatten(1)))).squeeze(1))


@pytest.mark.parametrize("side", ["reals", "fakes"])
def test_values_and_gradients_are_the_exact_ones_in_the_mean(side):
    """Over samples that are all alike but for their direction; gradients reach both passes."""
    nets = networks(Bent())
    nn.init.zeros_(nets.generator.weight)  # all fakes alike
    inner, outer = nets.discriminator.inner, nets.discriminator.outer
    found = []
    for slopes in (FiniteDifferences(0.01), Exact()):
        game = Replayed(nets, Plenty(5), shades=False)
        terms = ZeroCentred(2.0, side, slopes)(game, Batch(images(1).expand(MANY, -1, -1, -1)))
        by = torch.autograd.grad(terms.loss.mean(), [inner.weight, inner.bias, outer.weight])
        found.append([terms.loss.mean().detach(), *terms.stats.values(), *by])
        assert not any(value.requires_grad for value in terms.stats.values())
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0.03, atol=0.03 * float(exact.abs().max()))


# ---- what it asks of a game


@pytest.mark.parametrize("by", [("reals",), ("fakes",), ("reals", "fakes")])
def test_the_turn_shares_its_verdicts_and_asks_for_no_exactness(by):
    nets, reals = networks(), Batch(images())
    penalties = [ZeroCentred(2.0, side) for side in by]
    game = Replayed(nets)
    turn = DiscriminatorTurn(LOSS, [p.extra for p in penalties], by=by, slopes=FiniteDifferences(0.1, 2))
    terms = turn(game, reals)
    assert game.passes == [(N, False)] * (2 + 2 * len(by))  # of each side, and of two directions
    streams = SampleRandomness(range(N))
    fakes = nets.generator(streams.normal(Z).double()).view(-1, *SHAPE)
    order = {  # in which numbers are drawn: shades, and two directions of each side that is penalised
        ("reals",): ("fakes", "reals", "reals e", "reals e"),
        ("fakes",): ("fakes", "fakes e", "fakes e", "reals"),
        ("reals", "fakes"): ("fakes", "reals", "fakes e", "reals e", "fakes e", "reals e"),
    }
    shades, along = {}, {side: [] for side in by}
    for name in order[by]:
        if name.endswith(" e"):
            along[name.removesuffix(" e")].append(streams.normal(*SHAPE).double())
        else:
            shades[name] = streams.normal(1, 1, 1).double()
    whole = nets.discriminator.weight.sum(dim=0)
    weights = torch.cat([nets.discriminator.weight[:1], nets.discriminator.weight[1:].mean(dim=0)[None]])

    def logit(x: Tensor) -> Tensor:
        return x.flatten(1) @ weights.sum(dim=0)

    expected = logit(fakes * shades["fakes"]) - logit(reals.images * shades["reals"])
    for side in by:
        slopes = [(e * shades[side]).flatten(1) @ whole for e in along[side]]
        expected = expected + torch.stack(slopes).square().mean(dim=0)
    close(terms.loss, expected)


class Halves(nn.Module):
    """Two levels of images."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))
        self.fine = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))

    def forward(self, levels) -> Verdict:
        coarse, fine = levels
        return Verdict(coarse.flatten(1) @ self.coarse + fine.flatten(1) @ self.fine)


class Levelled(Replayed):
    """Every real is its own coarse level, twice as bright."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        fakes = super().generate(count, labels)
        return replace(fakes, levels=(fakes.images.flip(1), fakes.images))

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return 2 * images, images

    def judge_levels(self, levels, labels, *, exact=False) -> Verdict:
        return self.networks.discriminator(levels)

    def judge(self, images, labels, *, exact=False) -> Verdict:
        return self.judge_levels(self.levels(images), labels)

    def draw_judge(self, count: int):
        return self.judge_levels

    def judge_both_by(self, judges, fakes, reals, *, exact=False):
        return judges[0](fakes.seen, None), judges[1](self.levels(reals.images), None)


def test_each_level_of_a_fake_moves_by_itself_and_a_real_moves_before_its_levels():
    nets = networks(Halves())
    coarse, fine = nets.discriminator.coarse, nets.discriminator.fine
    game, reals = Levelled(nets), Batch(images())
    assert isinstance(game, LevelledGame)
    assert isinstance(game, ReplayedGame)
    streams = SampleRandomness(range(N))
    streams.normal(Z)
    along = [streams.normal(*SHAPE).double().flatten(1) for _ in range(3)]
    of_fakes = (along[0] @ coarse + along[1] @ fine).square()
    close(FiniteDifferences().of(game, reals, "fakes"), of_fakes)
    same = Levelled(nets)
    turn = DiscriminatorTurn(
        LOSS,
        [ZeroCentred(2.0).extra, ZeroCentred(2.0, "fakes").extra],
        by=("reals", "fakes"),
        slopes=FiniteDifferences(),
    )
    plain = DiscriminatorTurn(LOSS)(Levelled(nets), reals).loss
    of_reals = (along[2] @ (2 * coarse + fine)).square()
    close(turn(same, reals).loss, plain + of_fakes + of_reals)
    alone = SampleRandomness(range(N)).normal(*SHAPE).double().flatten(1)
    close(
        ZeroCentred(2.0, "reals", FiniteDifferences())(Levelled(nets), reals).loss,
        (alone @ (2 * coarse + fine)).square(),
    )


class Once(torch.autograd.Function):
    """Twice x, with a gradient that has none itself."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad


def test_operations_without_second_derivatives_will_do():
    nets = networks()
    judge = nets.discriminator.forward
    nets.discriminator.forward = lambda images: judge(Once.apply(images))
    with pytest.raises(RuntimeError, match="once_differentiable"):
        ZeroCentred(1.0)(Replayed(nets), Batch(images())).loss.sum().backward()
    ZeroCentred(1.0, "reals", FiniteDifferences())(Replayed(nets), Batch(images())).loss.sum().backward()
    assert nets.discriminator.weight.grad.abs().max() > 0


def test_a_game_that_cannot_judge_again_is_no_game_for_it():
    class Plain:
        randomness = SampleRandomness(range(N))

    with pytest.raises(AssertionError, match="judges again"):
        FiniteDifferences().of(Plain(), Batch(images()), "reals")
