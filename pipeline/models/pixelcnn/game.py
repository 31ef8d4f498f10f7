"""How a model of likelihoods plays: alone, by telling how likely the reals are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes
from pipeline.models.pixelcnn.dropout import Dropout
from pipeline.models.pixelcnn.network import PixelNetwork, log_prob
from pipeline.models.pixelcnn.sampler import drawn
from pipeline.models.plain import PlainGame, labels_for


@dataclass(frozen=True)
class LikelihoodGame(PlainGame):
    """size: height and width of images. dropout: the probability with which activations are removed."""

    size: tuple[int, int] = (1, 1)
    dropout: float = 0.0

    @property
    def network(self) -> PixelNetwork:
        """The only player."""
        return self.networks.generator  # type: ignore[return-value]

    @torch.no_grad()
    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Draws images number by number, without dropout. `Fakes.latents` are the uniform numbers that they
        are drawn with. No gradient passes through."""
        randomness = self.randomness.first(count)
        uniform = randomness.uniform(self.network.likelihood.draws, *self.size)
        labels = labels_for(self.network.classes, labels, randomness)
        return Fakes(drawn(self.network, uniform, labels), labels, uniform.flatten(1))

    def log_prob(self, reals: Batch) -> Tensor:
        """Returns the log-probability of each real given its class, in nats, [N], with dropout."""
        numbers = self.network.activations(*self.size) if self.dropout else 0
        dropout = None
        if numbers:
            dropout = Dropout(self.dropout, self.randomness.first(len(reals)).uniform(numbers))
        return log_prob(self.network, reals.images, reals.labels, dropout)
