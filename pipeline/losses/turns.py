"""The two main objectives: an adversarial loss, and what is added to it in the same turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Game, Terms, Verdict
from pipeline.float32 import detached
from pipeline.losses.adversarial import Adversarial

Side = Literal["reals", "fakes"]


@dataclass(frozen=True)
class Play:
    """One turn, as what is added to it sees it. real: None where reals were not judged. slopes: squared
    gradients [N] of the logits with respect to the images, in the graph, by side that the turn differentiates
    by."""

    game: Game
    reals: Batch
    fakes: Fakes
    real: Verdict | None
    fake: Verdict
    slopes: Mapping[Side, Tensor] = field(default_factory=dict)


Extra = Callable[[Play], Terms]


class GeneratorTurn:
    """The generator's loss of one batch, on fakes with the reals' labels."""

    def __init__(self, loss: Adversarial, extras: Sequence[Extra] = ()) -> None:
        self.loss, self.extras = loss, tuple(extras)

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = game.generate(len(reals), reals.labels)
        fake = game.judge(fakes.images, fakes.labels)
        real = game.judge(reals.images, reals.labels) if self.loss.pairs else None
        compared = fake.logits if real is None else real.logits
        loss = self.loss.generator(compared, fake.logits)
        terms = Terms(loss, {"loss/generator": loss.detach().mean()})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake))


class DiscriminatorTurn:
    """The discriminator's loss of one batch, with the logits' means and signs.

    by: the sides with respect to whose images an extra takes gradients, so that they are leaves of the graph
    and the judgement is exact. observed: stats of the fakes (StyleGAN's mean w).
    """

    def __init__(
        self,
        loss: Adversarial,
        extras: Sequence[Extra] = (),
        *,
        by: Sequence[Side] = (),
        observed: Callable[[Fakes], dict[str, Tensor]] = lambda fakes: {},
    ) -> None:
        self.loss, self.extras = loss, tuple(extras)
        self.by, self.observed = tuple(by), observed

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = generate_detached(game, reals)
        if "reals" in self.by:
            reals = replace(reals, images=reals.images.detach().requires_grad_())
        if "fakes" in self.by:
            fakes = replace(fakes, images=fakes.images.detach().requires_grad_())
        fake, real = self._judged(game, fakes, reals)
        slopes = self._slopes({"reals": (real.logits, reals.images), "fakes": (fake.logits, fakes.images)})
        loss = self.loss.discriminator(real.logits, fake.logits)
        stats = {"loss/discriminator": loss.detach().mean(), **logit_stats(real, fake)}
        terms = Terms(loss, {**stats, **self.observed(fakes)})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake, slopes))

    def _judged(self, game: Game, fakes: Fakes, reals: Batch) -> tuple[Verdict, Verdict]:
        if len(self.by) != 1:
            return game.judge_both(fakes, reals, exact=bool(self.by))
        # Apart: the gradient with respect to one side's images would pass through the other too.
        fake = game.judge(fakes.images, fakes.labels, exact=True)
        return fake, game.judge(reals.images, reals.labels, exact=True)

    def _slopes(self, sides: Mapping[Side, tuple[Tensor, Tensor]]) -> dict[Side, Tensor]:
        if not self.by:
            return {}
        logits, images = zip(*(sides[side] for side in self.by), strict=True)
        return dict(zip(self.by, squared_gradients(logits, images), strict=True))


def with_extras(terms: Terms, extras: Sequence[Extra], play: Play) -> Terms:
    """The sum of all losses, and all stats."""
    loss, stats = terms.loss, dict(terms.stats)
    for extra in extras:
        more = extra(play)
        loss = loss + more.loss
        stats |= more.stats
    return Terms(loss, stats)


def generate_detached(game: Game, reals: Batch) -> Fakes:
    """Fakes without a graph, one a real and with its label: the labels' frequencies are the data's."""
    with detached():
        return game.generate(len(reals), reals.labels)


def squared_gradients(logits: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """|grad D(x)|^2 of each image, [N] for each of the batches, in the graph of second order."""
    # Summing over the batch gives each image's own gradient, up to what minibatch statistics mix.
    gradients = torch.autograd.grad([each.sum() for each in logits], list(images), create_graph=True)
    return [gradient.square().sum(dim=[1, 2, 3]) for gradient in gradients]


def logit_stats(real: Verdict, fake: Verdict) -> dict[str, Tensor]:
    """Batch means for the log and for adaptive augmentation (`signs/real`: Karras et al. 2020b, eq. 1)."""
    r, f = real.logits.detach(), fake.logits.detach()
    return {"logits/real": r.mean(), "logits/fake": f.mean(), "signs/real": r.sign().mean()}
