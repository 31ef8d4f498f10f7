"""Pseudo augmentation: fakes that the discriminator is shown as reals."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Game, Objective, Terms
from pipeline.losses.slopes import generate_detached


class WithPseudoReals:
    """An objective of which each real is replaced by a fake with probability p (Jiang et al. 2021, section
    3.2).

    The fakes are made for this purpose, by the generator as it is in this turn, with the labels of the reals
    that they replace. The authors' code takes those of the generator's last turn, which saves a pass of the
    generator but has to be remembered from turn to turn; both are fakes that the objective's own are not
    compared with. Penalties on reals apply to the mixture, as in that code. memory: holds p as a buffer, 0-d.
    """

    def __init__(self, objective: Objective, memory: nn.Module) -> None:
        self.objective, self.memory = objective, memory

    def __call__(self, game: Game, reals: Batch) -> Terms:
        p = self.memory.p
        assert isinstance(p, Tensor)
        pseudo = game.randomness.first(len(reals)).uniform() < p
        fakes = generate_detached(game, reals).images.to(reals.images.dtype)
        images = torch.where(pseudo[:, None, None, None], fakes, reals.images)
        return self.objective(game, replace(reals, images=images))
