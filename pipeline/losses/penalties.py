"""Penalties on gradients; they need derivatives of second order."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Game, Terms


class R1:
    """gamma / 2 * |grad D(x)|^2 on reals, [N] (Mescheder et al. 2018, eq. 9).

    The gradient is with respect to the images before augmentation, summed over C, H, W.
    """

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def __call__(self, game: Game, reals: Batch) -> Terms:
        images = reals.images.detach().requires_grad_()
        logits = game.judge(images, reals.labels, exact=True)
        # Summing over the batch gives each image's own gradient, up to what minibatch statistics mix.
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        squares = gradient.square().sum(dim=[1, 2, 3])  # [N]
        return Terms(squares * (self.gamma / 2), {"penalty/r1": squares.detach().mean()})


class PathLength:
    """weight * (|J^T y| - a)^2, [N / shrink] (Karras et al. 2020a, eq. 4).

    y is noise over sqrt(H * W). |J^T y| is the root of the mean over layers of the sum over w of the
    squared gradient. a is the running mean of the lengths up to the batch before, held by `memory` under
    `path_length_mean`; the stat `path_length` moves it. The batch's first N / shrink samples are used.
    """

    def __init__(self, memory: nn.Module, weight: float, shrink: int = 1) -> None:
        self.memory, self.weight, self.shrink = memory, weight, shrink

    def __call__(self, game: Game, reals: Batch) -> Terms:
        count = max(len(reals) // self.shrink, 1)
        fakes = game.generate(count, exact=True)
        lengths = path_lengths(fakes.images, fakes.latents, game.randomness.first(count).normal)
        mean = self.memory.path_length_mean
        assert isinstance(mean, Tensor)
        penalty = (lengths - mean.detach()).square()
        stats = {"penalty/path_length": penalty.detach().mean(), "path_length": lengths.detach().mean()}
        return Terms(penalty * self.weight, stats)


def path_lengths(images: Tensor, latents: Tensor, normal: Callable[..., Tensor]) -> Tensor:
    """|J^T y| of each image, [N]; images [N, C, H, W] in the graph of latents [N, layers, w_dim].

    normal: draws standard normal [N, *shape].
    """
    _, c, h, w = images.shape
    noise = normal(c, h, w) / math.sqrt(h * w)
    (gradient,) = torch.autograd.grad((images * noise).sum(), latents, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()
