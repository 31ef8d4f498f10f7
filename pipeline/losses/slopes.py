"""How steeply a discriminator's logits change with its images: what R1 and R2 are made of.

`Exact` differentiates the logits, so that the gradient of a penalty takes second derivatives.
`FiniteDifferences` judges slightly moved images as well and takes none: such turns may compute in low
precision, run compiled, and use operations that have no second derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Game, Judge, LevelledGame, ReplayedGame, Verdict
from pipeline.float32 import detached

Side = Literal["reals", "fakes"]
_Samples = TypeVar("_Samples", Batch, Fakes)


class Slopes(Protocol):
    """A way to find |grad D(x)|^2 of each image, [N], differentiable by the discriminator's parameters.

    D(x) is the sum of an image's logits over L and over heads. It is not a mean over L, in agreement with the
    public code of papers that penalise patch discriminators (R1: Suvorov et al. 2022; gradient penalty: Zhu
    et al. 2017); gamma therefore acts L^2 times as strongly as on a mean. x is the image before augmentation;
    for fakes, the squares of all levels are summed.
    """

    @property
    def exact(self) -> bool:
        """Whether second derivatives are taken, for which passes ask for full float32."""

    def judged(
        self, game: Game, fakes: Fakes, reals: Batch, by: Sequence[Side]
    ) -> tuple[Verdict, Verdict, dict[Side, Tensor]]:
        """Returns the verdicts on fakes and on as many reals, and the squares of the sides in `by`, of which
        there is at least one."""

    def of(self, game: Game, reals: Batch, side: Side) -> Tensor:
        """Returns the squares of one side: of the reals, or of as many fakes, which are generated."""


class Exact:
    """Implements `Slopes` by the gradient of the logits, in a graph of second order."""

    exact = True

    def judged(
        self, game: Game, fakes: Fakes, reals: Batch, by: Sequence[Side]
    ) -> tuple[Verdict, Verdict, dict[Side, Tensor]]:
        if "reals" in by:
            reals = _real_leaves(reals)
        if "fakes" in by:
            fakes = as_leaves(fakes)
        if len(by) == 2:
            fake, real = game.judge_both(fakes, reals, exact=True)
        else:
            # Separately: the gradient with respect to one side's images would otherwise pass through the
            # other's.
            fake = judge_fakes(game, fakes, exact=True)
            real = game.judge(reals.images, reals.labels, exact=True)
        sides: dict[Side, tuple[Verdict, Sequence[Tensor]]]
        sides = {"reals": (real, [reals.images]), "fakes": (fake, fakes.seen)}
        verdicts, seen = zip(*(sides[side] for side in by), strict=True)
        return fake, real, dict(zip(by, squared_gradients(verdicts, seen), strict=True))

    def of(self, game: Game, reals: Batch, side: Side) -> Tensor:
        if side == "reals":
            reals = _real_leaves(reals)
            seen: Sequence[Tensor] = [reals.images]
            verdict = game.judge(reals.images, reals.labels, exact=True)
        else:
            fakes = as_leaves(generate_detached(game, reals))
            seen, verdict = fakes.seen, judge_fakes(game, fakes, exact=True)
        (squares,) = squared_gradients([verdict], [seen])
        return squares


@dataclass(frozen=True)
class FiniteDifferences:
    """Implements `Slopes` by ((D(x + h e) - D(x)) / h)^2 for standard normal e (Lin et al. 2025, approximated
    R1, there without the division).

    Its expectation over e is |grad D(x)|^2 and, for a quadratic D with Hessian H, h^2 / 4 * ((tr H)^2 + 2
    |H|^2) more; its standard deviation is sqrt(2) times that. Each image, and each level of a fake, has an e
    of its own. All else that is random, and whatever a pass changes in the discriminator, is the same in both
    passes (`ReplayedGame`), and the gradient flows through both. If a verdict depends on the other images of
    a group (minibatch statistics), all of these move too, and the expectation is the squared gradient of an
    image's logits with respect to its whole group.

    step: h, in the units of images, whose range is [-1, 1]. directions: how many e the squares are averaged
    over; each takes a pass of its own.
    """

    step: float = 0.01
    directions: int = 1
    exact = False

    def judged(
        self, game: Game, fakes: Fakes, reals: Batch, by: Sequence[Side]
    ) -> tuple[Verdict, Verdict, dict[Side, Tensor]]:
        if len(by) == 2:
            return self._both(game, fakes, reals)
        # Separately: passes over as many images round alike, and what is subtracted should.
        if "fakes" in by:
            fake, squares = self._alone(game, fakes)
            return fake, game.judge(reals.images, reals.labels), {"fakes": squares}
        fake = judge_fakes(game, fakes)
        real, squares = self._alone(game, reals)
        return fake, real, {"reals": squares}

    def of(self, game: Game, reals: Batch, side: Side) -> Tensor:
        if side == "reals":
            return self._alone(game, reals)[1]
        return self._alone(game, generate_detached(game, reals))[1]

    def _both(self, game: Game, fakes: Fakes, reals: Batch) -> tuple[Verdict, Verdict, dict[Side, Tensor]]:
        assert isinstance(game, ReplayedGame), _WHY
        judges = game.draw_judge(len(reals)), game.draw_judge(len(reals))
        fake, real = game.judge_both_by(judges, fakes, reals)
        far = [
            game.judge_both_by(judges, self._moved(game, fakes), self._moved(game, reals))
            for _ in range(self.directions)
        ]
        squares: dict[Side, Tensor] = {
            "fakes": self._squares(fake, [moved for moved, _ in far]),
            "reals": self._squares(real, [moved for _, moved in far]),
        }
        return fake, real, squares

    def _alone(self, game: Game, samples: _Samples) -> tuple[Verdict, Tensor]:
        """Returns the verdict on one side's samples, and the squares."""
        assert isinstance(game, ReplayedGame), _WHY
        judge = game.draw_judge(len(samples.images))
        near = _judged_by(judge, game, samples)
        far = [_judged_by(judge, game, self._moved(game, samples)) for _ in range(self.directions)]
        return near, self._squares(near, far)

    def _moved(self, game: Game, samples: _Samples) -> _Samples:
        normal = game.randomness.first(len(samples.images)).normal

        def moved(images: Tensor) -> Tensor:
            return images + self.step * normal(*images.shape[1:]).to(images)

        if isinstance(samples, Batch):
            return replace(samples, images=moved(samples.images))
        return with_seen(samples, [moved(images) for images in samples.seen])

    def _squares(self, near: Verdict, far: Sequence[Verdict]) -> Tensor:
        """Returns the mean over the verdicts on moved images."""
        slopes = [_change(near, moved) / self.step for moved in far]
        return reduce(Tensor.add, [slope.square() for slope in slopes]) / len(slopes)


_WHY = "finite differences need a game that judges again in the same way"


def _change(near: Verdict, far: Verdict) -> Tensor:
    """Returns by how much D(x) is larger in `far`, [N], in the type of logits, float32."""
    # Logit by logit, since their sums would have lost digits before they are subtracted.
    changes = [(b - a).reshape(len(a), -1).sum(dim=1) for a, b in zip(near.heads, far.heads, strict=True)]
    return reduce(Tensor.add, changes)


def generate_detached(game: Game, reals: Batch) -> Fakes:
    """Generates fakes without a graph, one for each real and with its label, so that labels are as frequent
    as in the data."""
    with detached():
        return game.generate(len(reals), reals.labels)


def judge_fakes(game: Game, fakes: Fakes, *, exact: bool = False) -> Verdict:
    """Returns the discriminator's verdict on fakes, at all levels if they have any."""
    if fakes.levels is None:
        return game.judge(fakes.images, fakes.labels, exact=exact)
    assert isinstance(game, LevelledGame), "fakes have levels that this game cannot judge"
    return game.judge_levels(fakes.levels, fakes.labels, exact=exact)


def _judged_by(judge: Judge, game: Game, samples: Batch | Fakes) -> Verdict:
    if isinstance(samples, Fakes):
        return judge(samples.seen, samples.labels)
    seen = game.levels(samples.images) if isinstance(game, LevelledGame) else (samples.images,)
    return judge(seen, samples.labels)


def with_seen(fakes: Fakes, seen: Sequence[Tensor]) -> Fakes:
    """Returns the fakes with other images, one per level if they have levels."""
    return replace(fakes, images=seen[-1], levels=None if fakes.levels is None else tuple(seen))


def as_leaves(fakes: Fakes) -> Fakes:
    """Returns the same fakes as leaves of a graph, so that gradients with respect to them can be taken."""
    return with_seen(fakes, [image.detach().requires_grad_() for image in fakes.seen])


def _real_leaves(reals: Batch) -> Batch:
    return replace(reals, images=reals.images.detach().requires_grad_())


def squared_gradients(verdicts: Sequence[Verdict], seen: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Returns |grad D(x)|^2 of each image, [N] for each verdict, in a graph of second order.

    seen: the images that each verdict is about, as one tensor [N, C, H, W] or one per level; the squares of
    all levels are summed.
    """
    # Summing over the batch gives each image's own gradient, apart from what minibatch statistics mix.
    logits = [head.sum() for verdict in verdicts for head in verdict.heads]
    leaves = [images for each in seen for images in each]
    gradients = iter(torch.autograd.grad(logits, leaves, create_graph=True))
    squares = [[next(gradients).square().sum(dim=[1, 2, 3]) for _ in each] for each in seen]
    return [reduce(Tensor.add, each) for each in squares]
