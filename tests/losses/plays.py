"""A game whose discriminator is a quadratic with a known gradient, and what it says in numpy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Networks, Stage, Verdict
from pipeline.losses import Play, squared_gradients
from pipeline.randomness import SampleRandomness

N, SHAPE = 5, (2, 2, 3)
SIZE, Z, K = 12, 4, 3


class Quadratic(nn.Module):
    """D(x) = x^T A x / 2 + b x + c of x [N, SIZE], and class logits V x."""

    def __init__(self) -> None:
        super().__init__()
        root = torch.randn(SIZE, SIZE, dtype=torch.float64)
        self.matrix = nn.Parameter((root + root.T) / 4)
        self.slope = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))
        self.constant = nn.Parameter(torch.randn((), dtype=torch.float64))
        self.classes = nn.Parameter(torch.randn(K, SIZE, dtype=torch.float64))

    def forward(self, images: Tensor) -> Verdict:
        x = images.flatten(1)
        logits = 0.5 * torch.einsum("ni,ij,nj->n", x, self.matrix, x) + x @ self.slope + self.constant
        return Verdict(logits, x @ self.classes.T)

    def by_hand(self, images: Tensor) -> np.ndarray:
        """Logits [N]."""
        x, a, b, c = self._arrays(images)
        return np.array([row @ a @ row / 2 + b @ row + c for row in x])

    def slopes(self, images: Tensor) -> np.ndarray:
        """Gradients of the logits by the images, [N, SIZE]."""
        x, a, b, _ = self._arrays(images)
        return x @ a + b

    def _arrays(self, images: Tensor) -> tuple[np.ndarray, ...]:
        tensors = (images.flatten(1), self.matrix, self.slope, self.constant)
        return tuple(tensor.detach().numpy() for tensor in tensors)


@dataclass
class QuadraticGame:
    """Plays a linear generator against the quadratic; every call starts the same random streams anew."""

    networks: Networks
    stage: Stage = field(default_factory=lambda: Stage(2, 1.0, N, {}))

    @property
    def randomness(self) -> SampleRandomness:
        return SampleRandomness(range(N))

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        z = self.randomness.first(count).normal(Z).double()
        return Fakes(self.networks.generator(z).view(-1, *SHAPE), labels, z)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self.networks.discriminator(images)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        fake = self.judge(fakes.images, fakes.labels, exact=exact)
        return fake, self.judge(reals.images, reals.labels, exact=exact)


def make_game() -> QuadraticGame:
    torch.manual_seed(11)
    return QuadraticGame(Networks(nn.Linear(Z, SIZE, dtype=torch.float64), Quadratic()))


def make_reals() -> Batch:
    draws = torch.Generator().manual_seed(12)
    return Batch(torch.randn(N, *SHAPE, dtype=torch.float64, generator=draws), torch.arange(N) % K)


def make_play(game: QuadraticGame, reals: Batch, *, real: bool = True) -> Play:
    """A turn whose images are leaves of the graph."""
    fakes = game.generate(N, reals.labels)
    fakes = Fakes(fakes.images.detach().requires_grad_(), fakes.labels, fakes.latents)
    reals = Batch(reals.images.clone().requires_grad_(), reals.labels)
    judged = game.judge(reals.images, reals.labels) if real else None
    fake = game.judge(fakes.images, fakes.labels)
    sides = {"fakes": (fake, fakes.images)}
    if judged is not None:
        sides["reals"] = judged, reals.images
    slopes = {side: squared_gradients([verdict], [[images]])[0] for side, (verdict, images) in sides.items()}
    return Play(game, reals, fakes, judged, fake, slopes)
