"""The game of StyleGAN3's generator and StyleGAN2's discriminator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.models.plain import labels_for
from pipeline.models.stylegan2.game import ToldGame
from pipeline.models.stylegan3.generator import Generator

MEAN_W, SQUARES = "w_mean", "mean_squares"
"""What fakes without a graph, as the discriminator's turn makes them, are measured for: the mean of w, and
the mean square of each layer's input."""


@dataclass(frozen=True)
class StyleGAN3Game(ToldGame):
    """The game of one micro-batch."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Generates fakes whose latents are the w of the input and of each layer, [count, layers, w_dim]."""
        generator = self.networks.generator
        assert isinstance(generator, Generator)
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        w = generator.mapping(z, labels)
        ws = w[:, None].expand(-1, generator.layers, -1)
        images, squares = generator.synthesis(ws, exact=exact, measure=not torch.is_grad_enabled())
        stats = {} if squares is None else {MEAN_W: w.mean(dim=0), SQUARES: squares}
        return Fakes(images, labels, ws, stats=stats)
