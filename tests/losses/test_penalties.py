"""Objectives against finite differences and known expectations, and what they ask of a game."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Networks, Stage, Terms, Verdict
from pipeline.losses import (
    ADVERSARIAL,
    DiscriminatorTurn,
    GeneratorTurn,
    PathLength,
    ZeroCentred,
    path_lengths,
)
from pipeline.randomness import SampleRandomness

generator_logistic = GeneratorTurn(ADVERSARIAL["non_saturating"])
discriminator_logistic = DiscriminatorTurn(ADVERSARIAL["non_saturating"])

N, SIDE, Z = 4, 4, 3


class Bent(nn.Module):
    """A discriminator with curvature everywhere: v . tanh(A x + b) + c of the label."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(SIDE * SIDE, 5)
        self.outer = nn.Linear(5, 1)
        self.label = nn.Embedding(3, 5)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        hidden = torch.tanh(self.inner(images.flatten(1)))
        own = self.outer(hidden).squeeze(1)
        return own if labels is None else own + (hidden * self.label(labels)).sum(1)


class BentGenerator(nn.Module):
    """Images from latents [N, 2, Z], curved in each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(2 * Z, 6), nn.Tanh(), nn.Linear(6, SIDE * SIDE))

    def forward(self, latents: Tensor) -> Tensor:
        return self.body(latents).view(-1, 1, SIDE, SIDE)


@dataclass
class Game:
    """Plays the two networks, shows images `shade` times as bright, and notes what it was asked."""

    networks: Networks
    shade: float = 1.0
    stage: Stage = field(default_factory=lambda: Stage(SIDE, 1.0, N, {}))
    judged: list[tuple[Tensor, Tensor | None, bool]] = field(default_factory=list)
    generated: list[tuple[int, bool, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.randomness = SampleRandomness(range(N))

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        self.generated.append((count, exact, torch.is_grad_enabled()))
        latents = self.randomness.first(count).normal(2, Z).double().requires_grad_()
        labels = 2 - torch.arange(count) % 3 if labels is None else labels
        return Fakes(self.networks.generator(latents), labels, latents)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        self.judged.append((images, labels, exact))
        return Verdict(self.networks.discriminator(self.shade * images, labels))

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        fake = self.judge(fakes.images, fakes.labels, exact=exact)
        return fake, self.judge(reals.images, reals.labels, exact=exact)


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(5)
    return Networks(BentGenerator().double(), Bent().double())


@pytest.fixture
def reals() -> Batch:
    torch.manual_seed(6)
    return Batch(torch.randn(N, 1, SIDE, SIDE, dtype=torch.float64), torch.arange(N) % 3)


def remembered(mean: float | Tensor) -> nn.Module:
    memory = nn.Module()
    memory.path_length_mean = torch.as_tensor(mean)
    return memory


def differences(value: Callable[[], Tensor], parameter: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a scalar by every entry of a parameter."""
    out = torch.zeros_like(parameter)
    for place in range(parameter.numel()):
        flat, before = parameter.data.view(-1), parameter.data.view(-1)[place].item()
        ends = []
        for sign in (1, -1):
            flat[place] = before + sign * step
            ends.append(value().item())
        flat[place] = before
        out.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    return out


def check_gradients(network: nn.Module, loss: Callable[[], Terms]) -> None:
    """Every parameter's gradient of the mean loss against central differences."""
    network.zero_grad()
    loss().loss.mean().backward()
    for name, parameter in network.named_parameters():
        expected = differences(lambda: loss().loss.mean().detach(), parameter)
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


# ---- R1


def test_r1_of_a_linear_discriminator_is_its_slope(networks, reals):
    slope = torch.randn(1, SIDE, SIDE, dtype=torch.float64)
    game = Game(networks)
    game.networks.discriminator.forward = lambda images, labels: (images * slope).sum(dim=(1, 2, 3)) + 7
    terms = ZeroCentred(0.8)(game, reals)
    torch.testing.assert_close(terms.loss, (0.4 * slope.square().sum()).expand(N))


def test_r1s_gradients_by_the_parameters(networks, reals):
    check_gradients(networks.discriminator, lambda: ZeroCentred(2.5)(Game(networks, shade=0.3), reals))


def test_r1_differentiates_by_the_images_before_augmentation(networks, reals):
    """Seen at half brightness, a slope counts half, its square a quarter."""
    torch.nn.init.zeros_(networks.discriminator.inner.bias)
    direct = ZeroCentred(1.0)(Game(networks), Batch(0.5 * reals.images, reals.labels)).loss
    shaded = ZeroCentred(1.0)(Game(networks, shade=0.5), reals).loss
    torch.testing.assert_close(shaded, direct / 4)


def test_r1_asks_for_the_reals_labels_in_float32_and_leaves_the_batch_alone(networks, reals):
    game = Game(networks)
    terms = ZeroCentred(1.0)(game, reals)
    ((images, labels, exact),) = game.judged
    assert exact
    assert labels is reals.labels
    assert torch.equal(images, reals.images)
    assert not reals.images.requires_grad
    assert game.generated == []
    assert terms.loss.shape == (N,)
    assert not any(value.requires_grad for value in terms.stats.values())
    other = ZeroCentred(1.0)(Game(networks), Batch(reals.images, reals.labels.flip(0)))
    assert not torch.allclose(terms.loss, other.loss)


# ---- path length


def test_path_lengths_gradients_by_the_parameters(networks, reals):
    objective = PathLength(remembered(0.4), weight=1.7, shrink=2)
    check_gradients(networks.generator, lambda: objective(Game(networks), reals))


def test_the_mean_square_of_a_path_length_is_the_jacobians(networks):
    """E |J^T y|^2 = |J|^2 / (H W), over layers: a linear map, and many draws of y."""
    torch.manual_seed(0)
    jacobian = torch.randn(2, 2 * SIDE * SIDE, Z, dtype=torch.float64)  # 2 layers, 2 channels
    latents = torch.randn(1, 2, Z, dtype=torch.float64).expand(20_000, 2, Z).clone().requires_grad_()
    images = torch.einsum("lsw,nlw->ns", jacobian, latents).view(-1, 2, SIDE, SIDE)
    lengths = path_lengths(images, latents, lambda *shape: torch.randn(len(latents), *shape).double())
    expected = float(jacobian.square().sum()) / (SIDE * SIDE) / 2
    assert lengths.square().mean().item() == pytest.approx(expected, rel=0.03)


def test_path_length_noise_is_fresh_and_each_samples_own(networks, reals):
    """The noise comes after whatever the fakes took from a sample's stream."""
    terms = PathLength(remembered(0.0), weight=1.0)(Game(networks), reals)
    streams = SampleRandomness(range(N))
    latents = streams.normal(2, Z).double().requires_grad_()
    noise = streams.normal(1, SIDE, SIDE) / math.sqrt(SIDE * SIDE)
    (gradient,) = torch.autograd.grad((networks.generator(latents) * noise).sum(), latents)
    torch.testing.assert_close(terms.loss.detach(), gradient.square().sum(2).mean(1))


@pytest.mark.parametrize(("shrink", "count"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_path_length_generates_part_of_the_batch_in_float32(networks, reals, shrink, count):
    game = Game(networks)
    terms = PathLength(remembered(0.0), weight=1.0, shrink=shrink)(game, reals)
    assert terms.loss.shape == (count,)
    assert game.generated == [(count, True, True)]
    assert game.judged == []


def test_the_mean_is_a_constant_and_the_stats_feed_the_next(networks, reals):
    lengths = PathLength(remembered(0.0), weight=1.0)(Game(networks), reals).loss.detach().sqrt()
    mean = torch.tensor(0.5, requires_grad=True)
    terms = PathLength(remembered(mean), weight=3.0)(Game(networks), reals)
    torch.testing.assert_close(terms.loss.detach(), 3 * (lengths - 0.5).square())
    torch.testing.assert_close(terms.stats["path_length"], lengths.mean())
    terms.loss.sum().backward()
    assert mean.grad is None
    assert not any(value.requires_grad for value in terms.stats.values())
    assert terms.stats["penalty/path_length"].item() == pytest.approx(terms.loss.mean().item() / 3)


# ---- what the adversarial losses ask for


def test_generator_loss_judges_its_own_fakes_with_their_labels(networks, reals):
    game = Game(networks)
    terms = generator_logistic(game, reals)
    assert game.generated == [(N, False, True)]
    ((images, labels, exact),) = game.judged
    assert labels.tolist() == [0, 1, 2, 0]  # those of the reals, whose frequencies are the data's
    assert not exact
    logits = networks.discriminator(images, labels).detach().numpy()
    np.testing.assert_allclose(terms.loss.detach().numpy(), -scipy.special.log_expit(logits))
    check_gradients(networks.generator, lambda: generator_logistic(Game(networks), reals))


def test_discriminator_loss_pairs_images_with_their_labels(networks, reals):
    game = Game(networks)
    terms = discriminator_logistic(game, reals)
    assert game.generated == [(N, False, False)]  # without a graph
    labels = {tuple(labels.tolist()) for _, labels, _ in game.judged}
    assert labels == {tuple(reals.labels.tolist())}
    fakes = SampleRandomness(range(N)).normal(2, Z).double()
    fake = networks.discriminator(networks.generator(fakes), reals.labels).detach().numpy()
    real = networks.discriminator(reals.images, reals.labels).detach().numpy()
    expected = -scipy.special.log_expit(real) - scipy.special.log_expit(-fake)
    np.testing.assert_allclose(terms.loss.detach().numpy(), expected)
    assert terms.loss.shape == (N,)
    check_gradients(networks.discriminator, lambda: discriminator_logistic(Game(networks), reals))


def test_losses_stay_finite_where_a_sigmoid_saturates(networks, reals):
    networks.discriminator.outer.bias.data.fill_(-500.0)
    terms = generator_logistic(Game(networks), reals)
    torch.testing.assert_close(terms.loss, torch.full((N,), 500.0).double(), rtol=0.01, atol=0)
    terms.loss.mean().backward()
    gradient = networks.discriminator.outer.bias.grad
    torch.testing.assert_close(gradient, -torch.ones(1).double())  # it does not saturate
