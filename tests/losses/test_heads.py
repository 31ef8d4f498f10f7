"""Losses and penalties of discriminators with several logits an image, several heads, several levels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Networks, Stage, Verdict, per_image
from pipeline.losses import (
    ADVERSARIAL,
    DiscriminatorTurn,
    Drift,
    GeneratorTurn,
    GradientPenalty,
    LeCam,
    ZeroCentred,
)
from pipeline.models.together import judge_together
from pipeline.randomness import SampleRandomness

N, SIDE, Z = 3, 4, 2
PARTS = (1, 4, 6)  # logits of each head; the first has one, as [N]


class Heads(nn.Module):
    """Linear logits: head k's of x are W_k x, [N, L_k]."""

    def __init__(self) -> None:
        super().__init__()
        weights = [torch.randn(parts, SIDE * SIDE, dtype=torch.float64) for parts in PARTS]
        self.weights = nn.ParameterList(weights)

    def forward(self, images: Tensor) -> Verdict:
        logits = [images.flatten(1) @ weight.T for weight in self.weights]
        return Verdict([each.squeeze(1) if each.shape[1] == 1 else each for each in logits])

    def by_hand(self, images: Tensor) -> list[np.ndarray]:
        x = images.detach().flatten(1).numpy()
        return [x @ weight.detach().numpy().T for weight in self.weights]


class Pictures(nn.Module):
    """z [N, Z] to images, and to their halves as a level before if asked."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Linear(Z, SIDE * SIDE, dtype=torch.float64)
        self.coarse = nn.Linear(Z, SIDE * SIDE // 4, dtype=torch.float64)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        half = self.coarse(z).view(-1, 1, SIDE // 2, SIDE // 2)
        return half, self.fine(z).view(-1, 1, SIDE, SIDE)


@dataclass
class HeadsGame:
    networks: Networks
    stage: Stage = field(default_factory=lambda: Stage(SIDE, 1.0, N, {}))

    @property
    def randomness(self) -> SampleRandomness:
        return SampleRandomness(range(N))

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        z = self.randomness.first(count).normal(Z).double()
        return Fakes(self.networks.generator(z)[1], labels, z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.networks.discriminator(images)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        return self.judge(fakes.images, None), self.judge(reals.images, None)


@pytest.fixture
def game() -> HeadsGame:
    torch.manual_seed(2)
    return HeadsGame(Networks(Pictures(), Heads()))


def make_reals() -> Batch:
    draws = torch.Generator().manual_seed(3)
    return Batch(torch.randn(N, 1, SIDE, SIDE, dtype=torch.float64, generator=draws))


@pytest.fixture
def reals() -> Batch:
    return make_reals()


def close(ours: Tensor, expected: object) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def whole(values: list[np.ndarray]) -> np.ndarray:
    """The mean over L, the sum over heads."""
    return sum(value.mean(axis=1) for value in values)


# ---- a verdict


def test_one_logit_an_image_stays_the_tensor_it_is():
    logits = torch.randn(5)
    verdict = Verdict(logits)
    assert verdict.heads == (logits,)
    assert verdict.logits is logits
    assert verdict.classes is None
    assert dict(verdict.stats) == {}
    classes = torch.randn(5, 3)
    assert Verdict(logits, classes).classes is classes


def test_an_image_gets_the_mean_over_parts_and_the_sum_over_heads():
    heads = [torch.randn(5, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)]
    verdict = Verdict(heads)
    close(verdict.logits, heads[0].numpy() + heads[1].numpy().mean(axis=1))
    assert replace(verdict, stats={"a": heads[0]}).heads == tuple(heads)
    close(per_image(heads[1:]), heads[1].numpy().mean(axis=1))


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_one_pass_parts_every_head(rows):
    def judge(images, labels):
        x = images.flatten(1)
        return Verdict([x[:, 0], x[:, :3]], x[:, 1:3], {"seen": x.mean()})

    draws = torch.Generator().manual_seed(1)
    fakes, reals = (torch.randn(4, 1, 2, 2, generator=draws) for _ in range(2))
    both = judge_together(judge, (fakes, None), (reals, None), rows)
    for got, images in zip(both, (fakes, reals), strict=True):
        alone = judge(images, None)
        assert all(map(torch.equal, got.heads, alone.heads))
        assert torch.equal(got.classes, alone.classes)
        torch.testing.assert_close(got.stats["seen"], torch.cat([fakes, reals]).mean())


# ---- losses


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_loss_is_the_mean_over_parts_and_the_sum_over_heads(game, reals, name):
    judge, loss = game.networks.discriminator, ADVERSARIAL[name]
    real, fake = (judge.by_hand(x) for x in (reals.images, game.generate(N).images))

    def expected(function) -> np.ndarray:
        pairs = zip(real, fake, strict=True)
        return whole([function(*(torch.tensor(side) for side in pair)).numpy() for pair in pairs])

    close(DiscriminatorTurn(loss)(game, reals).loss, expected(loss.discriminator))
    close(GeneratorTurn(loss)(game, reals).loss, expected(loss.generator))


def test_a_relativistic_loss_pairs_patch_with_patch(game, reals):
    """Not the means: softplus of a mean is no mean of softplus."""
    judge = game.networks.discriminator
    real, fake = (judge.by_hand(x) for x in (reals.images, game.generate(N).images))
    expected = whole([np.log1p(np.exp(f - r)) for r, f in zip(real, fake, strict=True)])
    close(DiscriminatorTurn(ADVERSARIAL["relativistic"])(game, reals).loss, expected)
    shuffled = whole([np.log1p(np.exp(f - r[:, ::-1])) for r, f in zip(real, fake, strict=True)])
    assert np.abs(expected - shuffled).max() > 1e-3


def test_figures_count_every_head_alike(game, reals):
    judge = game.networks.discriminator
    real = judge.by_hand(reals.images)
    stats = DiscriminatorTurn(ADVERSARIAL["hinge"])(game, reals).stats
    means = [logits.mean() for logits in real]
    assert float(stats["logits/real"]) == pytest.approx(np.mean(means))
    assert [float(stats[f"logits/real/{head}"]) for head in range(3)] == pytest.approx(means)
    assert float(stats["signs/real"]) == pytest.approx(np.mean([np.sign(logits).mean() for logits in real]))
    assert -1 <= float(stats["signs/real"]) <= 1
    fakes = [logits.mean() for logits in judge.by_hand(game.generate(N).images)]
    assert [float(stats[f"logits/fake/{head}"]) for head in range(3)] == pytest.approx(fakes)


def test_one_head_of_patches_has_no_figures_apart(game, reals):
    game.networks.discriminator.weights = nn.ParameterList(game.networks.discriminator.weights[1:2])
    stats = DiscriminatorTurn(ADVERSARIAL["hinge"])(game, reals).stats
    assert {name for name in stats if name.startswith(("logits/", "signs/"))} == {
        "logits/real",
        "logits/fake",
        "signs/real",
    }


# ---- penalties: D(x) is the sum of all logits of x


def slope(judge: Heads) -> np.ndarray:
    return sum(weight.detach().numpy().sum(axis=0) for weight in judge.weights)


@pytest.mark.parametrize("on", ["reals", "fakes"])
def test_r1_and_r2_differentiate_the_sum_of_all_logits(game, reals, on):
    penalty = ZeroCentred(3.0, on)
    expected = np.full(N, 1.5 * (slope(game.networks.discriminator) ** 2).sum())
    close(penalty(game, reals).loss, expected)
    turn = DiscriminatorTurn(ADVERSARIAL["wasserstein"], [penalty.extra], by=(on,))
    plain = DiscriminatorTurn(ADVERSARIAL["wasserstein"])(game, reals).loss.detach().numpy()
    close(turn(game, reals).loss, plain + expected)


def test_the_gradient_penalty_does_too(game, reals):
    norm = np.linalg.norm(slope(game.networks.discriminator))
    close(GradientPenalty(2.0)(game, reals).loss, np.full(N, 2 * (norm - 1) ** 2))


def test_drift_and_lecam_hold_every_logit(game, reals):
    """Logits that cancel in the sum, or over heads, are held all the same; each head has its own means."""
    judge = game.networks.discriminator
    real, fake = (judge.by_hand(x) for x in (reals.images, game.generate(N).images))
    lecam, a_real, a_fake = LeCam(0.3, 0.5, heads=3), np.zeros(3), np.zeros(3)
    turn = DiscriminatorTurn(ADVERSARIAL["wasserstein"], [Drift(0.2), lecam])
    plain = DiscriminatorTurn(ADVERSARIAL["wasserstein"])(game, reals).loss.detach().numpy()
    for _ in range(2):
        drift = 0.2 * whole([logits**2 for logits in real])
        parts = zip(real, fake, a_real, a_fake, strict=True)
        pulled = whole([(r - to_fake) ** 2 + (to_real - f) ** 2 for r, f, to_real, to_fake in parts])
        terms = turn(game, reals)
        close(terms.loss, plain + drift + 0.3 * pulled)
        lecam.observe(terms.stats, N)
        a_real = a_real / 2 + np.array([logits.mean() for logits in real]) / 2
        a_fake = a_fake / 2 + np.array([logits.mean() for logits in fake]) / 2
        np.testing.assert_allclose(lecam.real_mean.numpy(), a_real, rtol=1e-6)
        lecam.real_mean, lecam.fake_mean = torch.tensor(a_real), torch.tensor(a_fake)
    assert LeCam(1.0, 0.5).real_mean.shape == ()  # as checkpoints have it


# ---- levels where there are none


def test_a_game_that_knows_no_levels_is_not_given_any(game, reals):
    class Odd(HeadsGame):
        def generate(self, count, labels=None, *, exact=False):
            fakes = super().generate(count, labels)
            return replace(fakes, levels=(fakes.images,))

    with pytest.raises(AssertionError, match="levels"):
        GeneratorTurn(ADVERSARIAL["hinge"])(Odd(game.networks), reals)


# ---- what networks measure


def test_what_networks_measure_is_reported_of_both_sides_together(game, reals):
    class Measuring(HeadsGame):
        def generate(self, count, labels=None, *, exact=False):
            return replace(super().generate(count, labels), stats={"g": torch.tensor(5.0)})

        def judge(self, images, labels, *, exact=False):
            return replace(super().judge(images, labels), stats={"d": images.detach().mean(dim=[0, 1, 2])})

    measuring = Measuring(game.networks)
    stats = DiscriminatorTurn(ADVERSARIAL["hinge"])(measuring, reals).stats
    assert stats["g"] == 5
    both = torch.cat([reals.images, measuring.generate(N).images.detach()])
    close(stats["d"], both.numpy().mean(axis=(0, 1, 2)))
