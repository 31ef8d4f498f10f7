"""What holds the two networks in balance: the weight k, and the measure of convergence."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Game, Terms
from pipeline.losses import generate_detached

REALS, FAKES = "loss/reconstruction", "loss/generator"
"""The stats from which `Equilibrium` moves: L(x) of the discriminator's turn, L(G(z)) of the generator's."""


class Equilibrium(nn.Module):
    """The memory of BEGAN, moved once a step from figures that are averaged over all ranks.

    k: the weight of fakes in the discriminator's loss, from 0 to 1; after each step k <- k + lambda_k (gamma
    L(x) - L(G(z))) (Berthelot et al. 2017, section 3.4). measure: of convergence, L(x) + |gamma L(x) -
    L(G(z))| (section 3.4.1), as its mean over all steps so far or, later, a running mean with the weight 0.01
    for the latest step. steps: the number of steps that both have taken in.
    """

    k: Tensor
    measure: Tensor
    steps: Tensor
    _LATEST = 0.01  # weight of a step in the running mean

    def __init__(self, gamma: float, rate: float) -> None:
        super().__init__()
        self.gamma, self.rate = gamma, rate
        self.register_buffer("k", torch.zeros([]))
        self.register_buffer("measure", torch.zeros([]))
        self.register_buffer("steps", torch.zeros([], dtype=torch.int64))

    @torch.no_grad()
    def observe(self, stats: Mapping[str, Tensor]) -> None:
        """Takes in one step. If one of its two errors is not finite, nothing changes."""
        reals, fakes = (stats[name].to(self.k.dtype) for name in (REALS, FAKES))
        finite = torch.isfinite(reals) & torch.isfinite(fakes)
        surplus = self.gamma * reals - fakes
        moved = (self.k + self.rate * surplus).clamp(0, 1)
        self.k.copy_(torch.where(finite, moved, self.k))
        self.steps += finite
        weight = (1 / self.steps.clamp(min=1)).clamp(min=self._LATEST).to(self.k.dtype)
        mean = self.measure.lerp(reals + surplus.abs(), weight)
        self.measure.copy_(torch.where(finite, mean, self.measure))


class DiscriminatorTurn:
    """L(x) - k L(G(z)), [N] (Berthelot et al. 2017, section 3.4)."""

    def __init__(self, equilibrium: Equilibrium) -> None:
        self.equilibrium = equilibrium

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fake, real = game.judge_both(generate_detached(game, reals), reals)
        # A copy, because `observe` changes the buffer in place, maybe before the backward pass reads it.
        k = self.equilibrium.k.clone().to(real.logits.dtype)
        loss = k * fake.logits - real.logits
        return Terms(
            loss,
            {"loss/discriminator": loss.detach().mean(), REALS: -real.logits.detach().mean()},
        )
