"""Losses and penalties of discriminators that see several levels of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, LevelledGame, Networks, Verdict
from pipeline.losses import ADVERSARIAL, DiscriminatorTurn, GeneratorTurn, GradientPenalty, ZeroCentred
from tests.losses.test_heads import SIDE, HeadsGame, N, Pictures, Z, close, make_reals


class Levels(nn.Module):
    """One logit: <a, half> + <b, full>."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.Parameter(torch.randn(SIDE // 2, SIDE // 2, dtype=torch.float64))
        self.fine = nn.Parameter(torch.randn(SIDE, SIDE, dtype=torch.float64))

    def forward(self, levels: Sequence[Tensor]) -> Verdict:
        half, full = levels
        return Verdict((half * self.coarse).sum(dim=[1, 2, 3]) + (full * self.fine).sum(dim=[1, 2, 3]))


class LevelsGame(HeadsGame):
    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        z = self.randomness.first(count).normal(Z).double()
        levels = self.networks.generator(z)
        return Fakes(levels[-1], labels, z, levels)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return nn.functional.avg_pool2d(images, 2), images

    def judge_levels(
        self, levels: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False
    ) -> Verdict:
        return self.networks.discriminator(levels)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.judge_levels(self.levels(images), labels)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        assert fakes.levels is not None
        return self.judge_levels(fakes.levels, None), self.judge(reals.images, None)


@pytest.fixture
def reals() -> Batch:
    return make_reals()


@pytest.fixture
def levelled() -> LevelsGame:
    torch.manual_seed(2)
    return LevelsGame(Networks(Pictures(), Levels()))


def test_fakes_are_judged_at_all_levels(levelled, reals):
    assert isinstance(levelled, LevelledGame)
    fakes = levelled.generate(N)
    assert fakes.seen == fakes.levels
    assert Fakes(fakes.images, None, fakes.latents).seen == (fakes.images,)
    judge = levelled.networks.discriminator
    half, full = (level.detach().numpy() for level in fakes.levels)
    logits = (half * judge.coarse.detach().numpy()).sum((1, 2, 3)) + (full * judge.fine.detach().numpy()).sum(
        (1, 2, 3)
    )
    terms = GeneratorTurn(ADVERSARIAL["wasserstein"])(levelled, reals)
    close(terms.loss, -logits)
    parameters = list(levelled.networks.generator.parameters())
    gradients = torch.autograd.grad(terms.loss.sum(), parameters)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def level_slopes(judge: Levels) -> tuple[np.ndarray, np.ndarray]:
    half, full = judge.coarse.detach().numpy(), judge.fine.detach().numpy()
    return half, full


def test_penalties_on_reals_reach_through_every_level_to_the_image(levelled, reals):
    half, full = level_slopes(levelled.networks.discriminator)
    slope = full + np.kron(half, np.ones((2, 2))) / 4  # the pooling's adjoint
    expected = np.full(N, (slope**2).sum())
    close(ZeroCentred(2.0)(levelled, reals).loss, expected)
    turn = DiscriminatorTurn(
        ADVERSARIAL["wasserstein"],
        [ZeroCentred(2.0).extra, ZeroCentred(2.0, "fakes").extra],
        by=("reals", "fakes"),
    )
    plain = DiscriminatorTurn(ADVERSARIAL["wasserstein"])(levelled, reals).loss.detach().numpy()
    close(turn(levelled, reals).loss, plain + expected + (half**2).sum() + (full**2).sum())


def test_penalties_on_fakes_take_the_gradient_by_every_level(levelled, reals):
    half, full = level_slopes(levelled.networks.discriminator)
    squares = (half**2).sum() + (full**2).sum()
    close(ZeroCentred(2.0, "fakes")(levelled, reals).loss, np.full(N, squares))
    close(GradientPenalty(2.0)(levelled, reals).loss, np.full(N, 2 * (np.sqrt(squares) - 1) ** 2))


def test_points_between_lie_at_the_same_place_on_every_level(levelled, reals):
    seen = []

    class Watched(LevelsGame):
        def judge_levels(self, levels, labels, *, exact=False):
            assert exact
            seen.append([level.detach() for level in levels])
            return super().judge_levels(levels, labels)

    watched = Watched(levelled.networks)
    GradientPenalty(2.0)(watched, reals)
    place = watched.randomness.uniform(1, 1, 1).double()
    assert place.unique().numel() == N
    fakes = watched.generate(N)
    for got, fake, real in zip(seen[-1], fakes.levels, watched.levels(reals.images), strict=True):
        torch.testing.assert_close(got, real + place * (fake.detach() - real))
