"""The two main objectives: an adversarial loss, and what is added to it in the same turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.contracts import Batch, Fakes, Game, Terms, Verdict
from pipeline.float32 import detached
from pipeline.losses.adversarial import Adversarial


@dataclass(frozen=True)
class Play:
    """One turn, as what is added to it sees it. real: None where reals were not judged."""

    game: Game
    reals: Batch
    fakes: Fakes
    real: Verdict | None
    fake: Verdict


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

    differentiates: an extra takes gradients with respect to the images, so they are leaves of the graph
    and the judgement is exact. observed: stats of the fakes (StyleGAN's mean w).
    """

    def __init__(
        self,
        loss: Adversarial,
        extras: Sequence[Extra] = (),
        *,
        differentiates: bool = False,
        observed: Callable[[Fakes], dict[str, Tensor]] = lambda fakes: {},
    ) -> None:
        self.loss, self.extras = loss, tuple(extras)
        self.differentiates, self.observed = differentiates, observed

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = generate_detached(game, reals)
        if self.differentiates:
            reals = replace(reals, images=reals.images.detach().requires_grad_())
            fakes = replace(fakes, images=fakes.images.detach().requires_grad_())
            # Apart: the gradient with respect to one's images would pass through the others too.
            fake = game.judge(fakes.images, fakes.labels, exact=True)
            real = game.judge(reals.images, reals.labels, exact=True)
        else:
            fake, real = game.judge_both(fakes, reals)
        loss = self.loss.discriminator(real.logits, fake.logits)
        stats = {"loss/discriminator": loss.detach().mean(), **logit_stats(real, fake)}
        terms = Terms(loss, {**stats, **self.observed(fakes)})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake))


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


def logit_stats(real: Verdict, fake: Verdict) -> dict[str, Tensor]:
    """Batch means for the log and for adaptive augmentation (`signs/real`: Karras et al. 2020b, eq. 1)."""
    r, f = real.logits.detach(), fake.logits.detach()
    return {"logits/real": r.mean(), "logits/fake": f.mean(), "signs/real": r.sign().mean()}
