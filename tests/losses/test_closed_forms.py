"""Each objective against its equation on networks simple enough to solve by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Networks, Stage, Verdict
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

N, C, H, W = 6, 1, 3, 4
SIZE = C * H * W


class Linear(nn.Module):
    """Images from latents [N, layers, w_dim] by fixed Jacobians: image = sum over layers of J_l w_l."""

    def __init__(self, layers: int, w_dim: int) -> None:
        super().__init__()
        self.jacobian = nn.Parameter(torch.randn(layers, SIZE, w_dim, dtype=torch.float64))

    def forward(self, latents: Tensor) -> Tensor:
        return torch.einsum("lsw,nlw->ns", self.jacobian, latents).view(-1, C, H, W)


class Quadratic(nn.Module):
    """D(x) = x^T A x / 2 + b x, whose gradient is A x + b for symmetric A."""

    def __init__(self) -> None:
        super().__init__()
        root = torch.randn(SIZE, SIZE, dtype=torch.float64)
        self.matrix = nn.Parameter(root + root.T)
        self.slope = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        return 0.5 * torch.einsum("ni,ij,nj->n", x, self.matrix, x) + x @ self.slope


@dataclass
class StubGame:
    networks: Networks
    stage: Stage = field(default_factory=lambda: Stage(4, 1.0, N, {}))
    exact: list[bool] = field(default_factory=list)

    @property
    def randomness(self) -> SampleRandomness:
        return SampleRandomness(range(N))

    def present(self, reals: Batch) -> Batch:
        return reals

    def latents(self, count: int) -> Tensor:
        return self.randomness.first(count).normal(2, 5).double()

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        self.exact.append(exact)
        latents = self.latents(count).requires_grad_()
        return Fakes(self.networks.generator(latents), None, latents)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        self.exact.append(exact)
        return Verdict(self.networks.discriminator(images))

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        fake = self.judge(fakes.images, fakes.labels, exact=exact)
        return fake, self.judge(reals.images, reals.labels, exact=exact)


@pytest.fixture
def game() -> StubGame:
    torch.manual_seed(2)
    return StubGame(Networks(Linear(2, 5), Quadratic()))


@pytest.fixture
def reals() -> Batch:
    return Batch(torch.randn(N, C, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_generator_logistic_is_minus_log_d(game):
    images = game.networks.generator(game.latents(N))
    logits = game.networks.discriminator(images).detach().numpy() * 0.05
    game.networks.discriminator.matrix.data *= 0.05
    game.networks.discriminator.slope.data *= 0.05
    terms = generator_logistic(game, Batch(torch.zeros(N, C, H, W)))
    np.testing.assert_allclose(terms.loss.detach().numpy(), -np.log(sigmoid(logits)), rtol=1e-6)
    assert float(terms.stats["loss/generator"]) == pytest.approx(float(terms.loss.detach().mean()))


def test_discriminator_logistic_is_goodfellows_equation_and_leaves_the_generator_alone(game, reals):
    game.networks.discriminator.matrix.data *= 0.01
    real = game.networks.discriminator(reals.images).detach().numpy()
    fake = game.networks.discriminator(game.networks.generator(game.latents(N))).detach().numpy()
    terms = discriminator_logistic(game, reals)
    expected = -np.log(sigmoid(real)) - np.log(1 - sigmoid(fake))
    np.testing.assert_allclose(terms.loss.detach().numpy(), expected, rtol=1e-6)
    assert float(terms.stats["signs/real"]) == pytest.approx(np.sign(real).mean())
    assert float(terms.stats["logits/fake"]) == pytest.approx(fake.mean())
    terms.loss.sum().backward()
    assert game.networks.generator.jacobian.grad is None
    assert game.networks.discriminator.matrix.grad.abs().sum() > 0


def test_r1_is_half_gamma_times_the_squared_gradient(game, reals):
    d = game.networks.discriminator
    gradient = reals.images.flatten(1) @ d.matrix + d.slope  # of each image
    expected = 3.0 / 2 * gradient.square().sum(1)
    terms = ZeroCentred(3.0)(game, reals)
    torch.testing.assert_close(terms.loss, expected)
    assert float(terms.stats["penalty/r1"]) == pytest.approx(float(gradient.detach().square().sum(1).mean()))
    assert game.exact == [True]
    terms.loss.mean().backward()
    ours = d.slope.grad.clone()
    d.slope.grad = None
    expected.mean().backward()
    torch.testing.assert_close(ours, d.slope.grad)


def test_path_lengths_are_those_of_a_linear_map(game):
    latents = game.latents(N).requires_grad_()
    noise = torch.randn(N, C, H, W, dtype=torch.float64)
    lengths = path_lengths(game.networks.generator(latents), latents, lambda *shape: noise)
    y = noise.flatten(1) / math.sqrt(H * W)
    pulled = torch.einsum("lsw,ns->nlw", game.networks.generator.jacobian, y)  # J^T y of each layer
    torch.testing.assert_close(lengths, pulled.square().sum(2).mean(1).sqrt())


def test_path_length_penalty_uses_the_remembered_mean_and_part_of_the_batch(game, reals):
    memory = nn.Module()
    memory.register_buffer("path_length_mean", torch.tensor(1.5))
    terms = PathLength(memory, weight=2.0, shrink=2)(game, reals)
    assert terms.loss.shape == (N // 2,)
    assert game.exact == [True]
    latents = game.latents(N // 2).requires_grad_()
    lengths = path_lengths(game.networks.generator(latents), latents, game.randomness.first(N // 2).normal)
    torch.testing.assert_close(terms.loss, 2 * (lengths - 1.5).square())
    assert float(terms.stats["path_length"]) == pytest.approx(float(lengths.detach().mean()))
    assert memory.path_length_mean == 1.5  # it moves in `observe` alone


def test_the_path_length_gradient_is_right(game, reals):
    """Against central differences of the whole penalty."""
    memory = nn.Module()
    memory.register_buffer("path_length_mean", torch.tensor(0.7))
    objective = PathLength(memory, weight=2.0)
    jacobian = game.networks.generator.jacobian
    objective(game, reals).loss.mean().backward()
    for place in [(0, 0, 0), (1, 5, 3)]:
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                jacobian[place] += step
            values.append(objective(game, reals).loss.mean().item())
            with torch.no_grad():
                jacobian[place] -= step
        assert float(jacobian.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
