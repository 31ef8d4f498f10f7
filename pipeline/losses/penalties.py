"""Penalties on gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.contracts import Batch, Fakes, Game, LevelledGame, Terms
from pipeline.losses.slopes import (
    Exact,
    Side,
    Slopes,
    as_leaves,
    generate_detached,
    judge_fakes,
    squared_gradients,
    with_seen,
)
from pipeline.losses.turns import Play


class ZeroCentred:
    """gamma / 2 * |grad D(x)|^2, [N]: R1 on reals, R2 on fakes (Mescheder et al. 2018, eq. 9 and 10).

    slopes: how |grad D(x)|^2 is found; what D and x are is said there. gamma is replaced by the weight
    "r1_gamma" or "r2_gamma" of the stage, if there is one. An instance is an objective of its own; its method
    `extra` is a term of a turn that finds the slopes of the same side.
    """

    def __init__(self, gamma: float, on: Side = "reals", slopes: Slopes | None = None) -> None:
        self.gamma, self.on, self.slopes = gamma, on, slopes or Exact()
        self.name = "r1" if on == "reals" else "r2"

    @property
    def exact(self) -> bool:
        """Whether passes ask for full float32."""
        return self.slopes.exact

    def __call__(self, game: Game, reals: Batch) -> Terms:
        return self._terms(game, self.slopes.of(game, reals, self.on))

    def extra(self, play: Play) -> Terms:
        return self._terms(play.game, play.slopes[self.on])

    def _terms(self, game: Game, squares: Tensor) -> Terms:
        gamma = game.stage.weights.get(f"{self.name}_gamma", self.gamma)
        return Terms(squares * (gamma / 2), {f"penalty/{self.name}": squares.detach().mean()})


class GradientPenalty:
    """weight * (|grad D(x)| - target)^2 / target^2, [N] (Gulrajani et al. 2017, eq. 3; the division:
    Karras et al. 2018, appendix A.1).

    x lies on the line between a real and a fake, at a position that is drawn uniformly for each pair and is
    the same at all levels; its label is that of the real. D(x) is the sum of an image's logits (`Slopes`). An
    instance is an objective of its own; its method `extra` is a term of a turn.
    """

    exact = True

    def __init__(self, weight: float, target: float = 1.0) -> None:
        self.weight, self.target = weight, target

    def __call__(self, game: Game, reals: Batch) -> Terms:
        return self._terms(game, reals, generate_detached(game, reals))

    def extra(self, play: Play) -> Terms:
        return self._terms(play.game, play.reals, play.fakes)

    def _terms(self, game: Game, reals: Batch, fakes: Fakes) -> Terms:
        points = self._between(game, reals, fakes)
        (squares,) = squared_gradients([judge_fakes(game, points, exact=True)], [points.seen])
        norms = (squares + 1e-12).sqrt()  # so that the derivative is finite even where D is flat
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
        return as_leaves(with_seen(replace(fakes, labels=reals.labels), seen))


class PathLength:
    """weight * (|J^T y| - a)^2, [N / shrink] (Karras et al. 2020a, eq. 4).

    y is standard normal noise divided by sqrt(H * W). |J^T y| is the square root of the squared gradient,
    summed over the components of w and averaged over layers. a is the running mean of the lengths up to the
    previous batch: `memory` holds it as `path_length_mean`, and the stat `path_length` updates it. In the
    public code of Karras et al. 2020b, a already includes the current batch, so that its gradient differs by
    about 1%, the mean's update weight. Only the first N / shrink samples of the batch are used.
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
    """Returns |J^T y| of each image, [N].

    images: [N, C, H, W], computed from `latents` in the graph. latents: [N, layers, w_dim]. normal: draws
    standard normal numbers [N, *shape].
    """
    _, c, h, w = images.shape
    noise = normal(c, h, w) / math.sqrt(h * w)
    (gradient,) = torch.autograd.grad((images * noise).sum(), latents, create_graph=True)
    # No constant under the root, as in the authors' code: if the generator ignores w altogether, the
    # derivative is infinite and the update is skipped.
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()
