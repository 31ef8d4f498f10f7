"""Every penalty and every extra term against its formula in numpy, on a discriminator solved by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
from torch import nn

from pipeline.losses import (
    ADVERSARIAL,
    Classified,
    DiscriminatorTurn,
    Drift,
    GradientPenalty,
    LeCam,
    Orthogonal,
    ZeroCentred,
    clip_weights,
)
from tests.losses.plays import SHAPE, N, make_game, make_play, make_reals


@pytest.fixture
def game():
    return make_game()


@pytest.fixture
def reals():
    return make_reals()


def close(ours: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-6, atol=1e-10)


# ---- penalties on gradients


@pytest.mark.parametrize(("on", "name"), [("reals", "r1"), ("fakes", "r2")])
def test_zero_centred_is_half_gamma_times_the_squared_slope(game, reals, on, name):
    images = reals.images if on == "reals" else game.generate(N).images
    squares = (game.networks.discriminator.slopes(images) ** 2).sum(axis=1)
    penalty = ZeroCentred(3.0, on)
    terms = penalty(game, reals)
    close(terms.loss, 1.5 * squares)
    assert float(terms.stats[f"penalty/{name}"]) == pytest.approx(squares.mean())
    close(penalty.extra(make_play(game, reals)).loss, 1.5 * squares)


@pytest.mark.parametrize("on", ["reals", "fakes"])
def test_zero_centred_gradient_by_the_slope(game, reals, on):
    """d/db of gamma/2 |A x + b|^2 is gamma (A x + b)."""
    images = reals.images if on == "reals" else game.generate(N).images
    loss = ZeroCentred(0.7, on)(game, reals).loss
    (ours,) = torch.autograd.grad(loss.sum(), game.networks.discriminator.slope)
    close(ours, 0.7 * game.networks.discriminator.slopes(images).sum(axis=0))


def test_the_stages_weight_takes_the_place_of_gamma(game, reals):
    plain = {on: ZeroCentred(2.0, on)(game, reals).loss for on in ("reals", "fakes")}
    game.stage.weights["r1_gamma"] = 0.5
    torch.testing.assert_close(ZeroCentred(2.0)(game, reals).loss, plain["reals"] / 4)
    torch.testing.assert_close(ZeroCentred(2.0, "fakes")(game, reals).loss, plain["fakes"])


@pytest.mark.parametrize("target", [1.0, 2.5, 750.0])
def test_gradient_penalty_between_reals_and_fakes(game, reals, target):
    fakes = game.generate(N).images.detach()
    place = game.randomness.uniform(1, 1, 1).double()
    between = reals.images + place * (fakes - reals.images)
    assert place.unique().numel() == N  # each sample its own
    norms = np.sqrt((game.networks.discriminator.slopes(between) ** 2).sum(axis=1))
    expected = 10 * (norms - target) ** 2 / target**2
    penalty = GradientPenalty(10.0, target)
    close(penalty(game, reals).loss, expected)
    close(penalty.extra(make_play(game, reals)).loss, expected)
    stat = penalty(game, reals).stats["penalty/gradient"]
    assert float(stat) == pytest.approx(expected.mean() / 10, rel=1e-6)


def test_gradient_penalty_of_a_straight_line(game, reals):
    """D(x) = b x has the norm |b| everywhere; its gradient by b is 2 weight (|b| - t) b / (|b| t^2)."""
    judge = game.networks.discriminator
    judge.matrix.data.zero_()
    b = judge.slope.detach().numpy()
    norm = np.linalg.norm(b)
    loss = GradientPenalty(4.0, 2.0)(game, reals).loss
    close(loss, np.full(N, 4 * (norm - 2) ** 2 / 4))
    (ours,) = torch.autograd.grad(loss.mean(), judge.slope)
    close(ours, 2 * 4 * (norm - 2) * b / norm / 4)


def test_a_flat_discriminator_has_finite_gradients(game, reals):
    judge = game.networks.discriminator
    judge.matrix.data.zero_()
    judge.slope.data.zero_()
    loss = GradientPenalty(1.0)(game, reals).loss
    close(loss, np.ones(N) * (1 - 1e-6) ** 2)
    (gradient,) = torch.autograd.grad(loss.sum(), judge.slope)
    assert torch.isfinite(gradient).all()


# ---- terms of the logits


def test_drift_is_the_square_of_the_reals_logits_alone(game, reals):
    play = make_play(game, reals)
    close(Drift(0.001)(play).loss, 0.001 * game.networks.discriminator.by_hand(reals.images) ** 2)


@pytest.mark.parametrize("relu", [False, True])
def test_lecam_pulls_each_side_to_the_others_mean_over_steps(game, reals, relu):
    """relu: max(D(x) - a_F, 0)^2 + max(a_R - D(G(z)), 0)^2, as the authors' code has it."""
    judge, decay = game.networks.discriminator, 0.8
    real = judge.by_hand(reals.images)
    fake = judge.by_hand(game.generate(N).images)
    lecam, a_real, a_fake = LeCam(0.3, decay, relu=relu), 0.0, 0.0
    for shift in (0.0, 2.0, -5.0):
        play = make_play(game, reals)
        above, below = real - a_fake, a_real - fake
        if relu:
            above, below = np.maximum(above, 0), np.maximum(below, 0)
        expected = above**2 + below**2
        terms = lecam(play)
        close(terms.loss, 0.3 * expected)
        assert float(terms.stats["penalty/lecam"]) == pytest.approx(expected.mean(), rel=1e-6)
        lecam.observe({"logits/real": torch.tensor(1 + shift), "logits/fake": torch.tensor(-2 * shift)}, N)
        a_real = decay * a_real + (1 - decay) * (1 + shift)
        a_fake = decay * a_fake + (1 - decay) * (-2 * shift)
    assert float(lecam.real_mean) == pytest.approx(a_real, rel=1e-6)
    assert float(lecam.fake_mean) == pytest.approx(a_fake, rel=1e-6)


def test_lecam_begins_late_with_the_latest_means(game, reals):
    """As the authors' code for BigGAN does."""
    lecam, late = LeCam(0.3, 0.9, start=2 * N), LeCam(0.3, 0.9)
    for real, fake in ((5.0, -5.0), (3.0, -1.0)):
        close(lecam(make_play(game, reals)).loss, np.zeros(N))
        lecam.observe({"logits/real": torch.tensor(real), "logits/fake": torch.tensor(fake)}, N)
        late.real_mean.fill_(real)
        late.fake_mean.fill_(fake)
    for real, fake in ((1.0, 0.0), (2.0, -2.0)):
        close(lecam(make_play(game, reals)).loss, late(make_play(game, reals)).loss.detach().numpy())
        for term in (lecam, late):
            term.observe({"logits/real": torch.tensor(real), "logits/fake": torch.tensor(fake)}, N)
    assert float(lecam.real_mean) == pytest.approx(0.9 * (0.9 * 3 + 0.1 * 1) + 0.1 * 2)


def test_lecams_debiased_means_are_weighted_means_of_the_steps(game, reals):
    """As the authors' code for StyleGAN2 has it: weights 0.9^k, whose sum is 1."""
    lecam, steps = LeCam(0.3, 0.9, debiased=True), [(5.0, -5.0), (3.0, float("nan")), (1.0, 0.0), (2.0, -2.0)]
    judge, taken = game.networks.discriminator, []
    real, fake = judge.by_hand(reals.images), judge.by_hand(game.generate(N).images)
    close(lecam(make_play(game, reals)).loss, np.zeros(N))  # before anything is known
    for step in steps:
        lecam.observe({"logits/real": torch.tensor(step[0]), "logits/fake": torch.tensor(step[1])}, N)
        taken += [step] if np.isfinite(step).all() else []
        weights = 0.9 ** np.arange(len(taken))[::-1]
        a_real, a_fake = (weights @ np.array(taken)) / weights.sum()
        expected = 0.3 * ((real - a_fake) ** 2 + (a_real - fake) ** 2)
        np.testing.assert_allclose(lecam(make_play(game, reals)).loss.detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_moves_no_mean_of_lecam(bad):
    lecam = LeCam(1.0, 0.9)
    lecam.observe({"logits/real": torch.tensor(2.0), "logits/fake": torch.tensor(-3.0)}, N)
    before = {key: value.clone() for key, value in lecam.state_dict().items()}
    lecam.observe({"logits/real": torch.tensor(bad), "logits/fake": torch.tensor(bad)}, N)
    lecam.observe({}, N)
    assert {key: float(value) for key, value in before.items()} == {
        key: float(value) for key, value in lecam.state_dict().items()
    }
    assert before.keys() == {"real_mean", "fake_mean"}  # saved with every checkpoint


def test_lecams_means_are_constants_that_a_later_observe_does_not_reach(game, reals):
    lecam = LeCam(1.0, 0.5)
    (expected,) = torch.autograd.grad(
        lecam(make_play(game, reals)).loss.sum(), game.networks.discriminator.slope
    )
    loss = lecam(make_play(game, reals)).loss.sum()
    lecam.observe({"logits/real": torch.tensor(9.0), "logits/fake": torch.tensor(9.0)}, N)
    (ours,) = torch.autograd.grad(loss, game.networks.discriminator.slope)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("real", [True, False])
def test_the_classifiers_cross_entropy(game, reals, real):
    play = make_play(game, reals, real=real)
    weights = game.networks.discriminator.classes.detach().numpy()
    expected = np.zeros(N)
    for images in [play.fakes.images] + [play.reals.images] * real:
        scores = scipy.special.log_softmax(images.detach().flatten(1).numpy() @ weights.T, axis=1)
        expected -= scores[np.arange(N), reals.labels.numpy()]
    terms = Classified(0.4)(play)
    close(terms.loss, 0.4 * expected)
    scores = play.fakes.images.detach().flatten(1).numpy() @ weights.T
    hits = (scores.argmax(axis=1) == reals.labels.numpy()).mean()
    assert float(terms.stats["classified/fake"]) == pytest.approx(hits)


# ---- terms of the weights


def test_orthogonal_is_the_papers_matrix_formula(game, reals):
    torch.manual_seed(4)
    weights = [torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 2, 3, 3, dtype=torch.float64)]
    expected = 0.0
    for weight in weights:
        w = weight.flatten(1).numpy()
        expected += np.linalg.norm((w @ w.T) * (np.ones((len(w), len(w))) - np.eye(len(w))), "fro") ** 2
    terms = Orthogonal(1e-2, lambda network: weights)(make_play(game, reals, real=False))
    close(terms.loss, np.full(N, 1e-2 * expected))
    assert float(terms.stats["penalty/orthogonal"]) == pytest.approx(expected)


def test_orthogonals_gradient_and_where_it_vanishes(game, reals):
    """d/dW |W W^T * M|^2 = 4 (W W^T * M) W for the symmetric mask M; nothing for orthogonal rows."""
    weight = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    play = make_play(game, reals, real=False)
    loss = Orthogonal(1.0, lambda network: [weight])(play).loss
    (ours,) = torch.autograd.grad(loss.mean(), weight)
    w = weight.detach().numpy()
    close(ours, 4 * ((w @ w.T) * (1 - np.eye(3))) @ w)
    scaled = torch.tensor([[2.0], [0.5], [7.0]], dtype=torch.float64) * torch.eye(3, 6, dtype=torch.float64)
    close(Orthogonal(1.0, lambda network: [scaled])(play).loss, np.zeros(N))


def test_clipping_clamps_every_parameter():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -1, 1)
    before = [parameter.detach().numpy().copy() for parameter in network.parameters()]
    clip_weights(0.3)(network)
    for parameter, old in zip(network.parameters(), before, strict=True):
        np.testing.assert_array_equal(
            parameter.detach().numpy(), np.clip(old, np.float32(-0.3), np.float32(0.3))
        )
        assert parameter.requires_grad


# ---- together


def test_a_turn_is_the_sum_of_its_terms(game, reals):
    judge = game.networks.discriminator
    extras = [Drift(0.2), ZeroCentred(0.6).extra, ZeroCentred(0.4, "fakes").extra]
    turn = DiscriminatorTurn(ADVERSARIAL["wasserstein"], extras, by=("reals", "fakes"))
    real, fakes = judge.by_hand(reals.images), game.generate(N).images.detach()
    expected = judge.by_hand(fakes) - real + 0.2 * real**2
    expected += 0.3 * (judge.slopes(reals.images) ** 2).sum(1) + 0.2 * (judge.slopes(fakes) ** 2).sum(1)
    close(turn(game, reals).loss, expected)
    assert reals.images.shape == (N, *SHAPE)
    assert not reals.images.requires_grad
