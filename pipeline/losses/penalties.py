"""Penalties on gradients; they need derivatives of second order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Game, LevelledGame, Terms
from pipeline.losses.turns import Play, Side, as_leaves, generate_detached, judge_fakes, squared_gradients


class ZeroCentred:
    """gamma / 2 * |grad D(x)|^2, [N]: R1 on reals, R2 on fakes (Mescheder et al. 2018, eq. 9 and 10).

    D(x) is the sum of an image's logits (`squared_gradients`). The gradient is with respect to the images
    before augmentation, for R2 with respect to every level of theirs, and the squares are summed over all of
    it. gamma is the stage's weight of that name ("r1_gamma", "r2_gamma") where it has one. An objective of
    its own, or `extra` within a turn that differentiates by that side.
    """

    def __init__(self, gamma: float, on: Side = "reals") -> None:
        self.gamma, self.on = gamma, on
        self.name = "r1" if on == "reals" else "r2"

    def __call__(self, game: Game, reals: Batch) -> Terms:
        if self.on == "reals":
            images = reals.images.detach().requires_grad_()
            verdict, seen = game.judge(images, reals.labels, exact=True), [images]
        else:
            fakes = as_leaves(generate_detached(game, reals))
            verdict, seen = judge_fakes(game, fakes, exact=True), [*fakes.seen]
        (squares,) = squared_gradients([verdict], [seen])
        return self._terms(game, squares)

    def extra(self, play: Play) -> Terms:
        return self._terms(play.game, play.slopes[self.on])

    def _terms(self, game: Game, squares: Tensor) -> Terms:
        gamma = game.stage.weights.get(f"{self.name}_gamma", self.gamma)
        return Terms(squares * (gamma / 2), {f"penalty/{self.name}": squares.detach().mean()})


class GradientPenalty:
    """weight * (|grad D(x)| - target)^2 / target^2, [N] (Gulrajani et al. 2017, eq. 3; the division:
    Karras et al. 2018, appendix A.1).

    x lies on the line between a real and a fake, at a place drawn uniformly for each, the same at all levels;
    labels are the real's. D(x) is the sum of an image's logits (`squared_gradients`). An objective of its
    own, or `extra` within a turn.
    """

    def __init__(self, weight: float, target: float = 1.0) -> None:
        self.weight, self.target = weight, target

    def __call__(self, game: Game, reals: Batch) -> Terms:
        return self._terms(game, reals, generate_detached(game, reals))

    def extra(self, play: Play) -> Terms:
        return self._terms(play.game, play.reals, play.fakes)

    def _terms(self, game: Game, reals: Batch, fakes: Fakes) -> Terms:
        points = self._between(game, reals, fakes)
        (squares,) = squared_gradients([judge_fakes(game, points, exact=True)], [points.seen])
        norms = (squares + 1e-12).sqrt()  # a flat D has a finite derivative too
        penalty = (norms - self.target).square() / self.target**2
        return Terms(penalty * self.weight, {"penalty/gradient": penalty.detach().mean()})

    @staticmethod
    def _between(game: Game, reals: Batch, fakes: Fakes) -> Fakes:
        place = game.randomness.first(len(reals)).uniform(1, 1, 1).to(fakes.images)
        real: tuple[Tensor, ...] = (reals.images,)
        if fakes.levels is not None:
            assert isinstance(game, LevelledGame)
            real = game.levels(reals.images)
        seen = tuple(torch.lerp(r.detach(), f.detach(), place) for r, f in zip(real, fakes.seen, strict=True))
        levels = None if fakes.levels is None else seen
        return as_leaves(replace(fakes, images=seen[-1], labels=reals.labels, levels=levels))


class PathLength:
    """weight * (|J^T y| - a)^2, [N / shrink] (Karras et al. 2020a, eq. 4).

    y is noise over sqrt(H * W). |J^T y| is the root of the mean over layers of the sum over w of the
    squared gradient. a is the running mean of the lengths up to the batch before, held by `memory` under
    `path_length_mean`; the stat `path_length` moves it. In the public code of Karras et al. 2020b the present
    batch is in a already: its gradient differs by about the mean's decay, 1%. The batch's first N / shrink
    samples are used.
    """

    def __init__(self, memory: nn.Module, weight: float, shrink: int = 1) -> None:
        self.memory, self.weight, self.shrink = memory, weight, shrink

    def __call__(self, game: Game, reals: Batch) -> Terms:
        count = max(len(reals) // self.shrink, 1)
        labels = None if reals.labels is None else reals.labels[:count]
        fakes = game.generate(count, labels, exact=True)
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
    # No constant below the root, as in the authors' code: of a generator that ignores w altogether the
    # derivative is infinite, and that update is skipped.
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()
