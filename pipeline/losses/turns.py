"""The two main objectives: an adversarial loss and the terms that are added to it in the same turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Game, Terms, Verdict, per_image
from pipeline.losses.adversarial import Adversarial
from pipeline.losses.slopes import Exact, Side, Slopes, generate_detached, judge_fakes


@dataclass(frozen=True)
class Play:
    """The state of one turn, from which the added terms are computed.

    reals, fakes: the two batches. real, fake: the verdicts on them; `real` is None if the reals were not
    judged. slopes: |grad D|^2 of each image, [N], in the graph, for each side whose slopes the turn takes
    (`Slopes`).
    """

    game: Game
    reals: Batch
    fakes: Fakes
    real: Verdict | None
    fake: Verdict
    slopes: Mapping[Side, Tensor] = field(default_factory=dict)


Extra = Callable[[Play], Terms]


class GeneratorTurn:
    """The generator's loss on one batch of fakes, which have the labels of the reals."""

    def __init__(self, loss: Adversarial, extras: Sequence[Extra] = ()) -> None:
        self.loss, self.extras = loss, tuple(extras)

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = game.generate(len(reals), reals.labels)
        fake = judge_fakes(game, fakes)
        # This pass keeps no graph: the discriminator is frozen in this turn, and reals need no gradient.
        real = game.judge(reals.images, reals.labels) if self.loss.pairs else None
        compared = fake if real is None else real
        loss = self.compared(game, compared, fake)
        terms = Terms(loss, {"loss/generator": loss.detach().mean()})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake))

    def compared(self, game: Game, real: Verdict, fake: Verdict) -> Tensor:
        """Returns the adversarial loss of each image, [N]."""
        return per_image(list(map(self.loss.generator, real.heads, fake.heads)))


class DiscriminatorTurn:
    """The discriminator's loss on one batch; its stats include the logits' means and signs.

    by: the sides whose slopes an extra term penalises. slopes: how these are found. observed: returns further
    stats of the fakes (StyleGAN's mean w).
    """

    def __init__(
        self,
        loss: Adversarial,
        extras: Sequence[Extra] = (),
        *,
        by: Sequence[Side] = (),
        slopes: Slopes | None = None,
        observed: Callable[[Fakes], dict[str, Tensor]] = lambda fakes: {},
    ) -> None:
        self.loss, self.extras = loss, tuple(extras)
        self.by, self.slopes, self.observed = tuple(by), slopes or Exact(), observed

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = generate_detached(game, reals)
        slopes: dict[Side, Tensor] = {}
        if self.by:
            fake, real, slopes = self.slopes.judged(game, fakes, reals, self.by)
        else:
            fake, real = game.judge_both(fakes, reals)
        loss = self.compared(game, real, fake)
        stats = {"loss/discriminator": loss.detach().mean(), **logit_stats(real, fake)}
        measured = {**fakes.stats, **mean_stats(real.stats, fake.stats)}
        terms = Terms(loss, {**stats, **measured, **self.observed(fakes)})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake, slopes))

    def compared(self, game: Game, real: Verdict, fake: Verdict) -> Tensor:
        """Returns the adversarial loss of each image, [N]."""
        return per_image(list(map(self.loss.discriminator, real.heads, fake.heads)))


def with_extras(terms: Terms, extras: Sequence[Extra], play: Play) -> Terms:
    """Returns the terms with the losses of all extras added and their stats included."""
    loss, stats = terms.loss, dict(terms.stats)
    for extra in extras:
        more = extra(play)
        loss = loss + more.loss
        stats |= more.stats
    return Terms(loss, stats)


def logit_stats(real: Verdict, fake: Verdict) -> dict[str, Tensor]:
    """Returns means over the batch for the log and for adaptive augmentation (`signs/real`: Karras et al.
    2020b, eq. 1). With several heads, `logits/real/0` and so on are those of each head."""
    signs = _mean([head.detach().sign() for head in real.heads])
    return {**_logits("logits/real", real), **_logits("logits/fake", fake), "signs/real": signs}


def _logits(name: str, verdict: Verdict) -> dict[str, Tensor]:
    heads = [head.detach() for head in verdict.heads]
    if len(heads) == 1:
        return {name: heads[0].mean()}
    return {name: _mean(heads), **{f"{name}/{i}": head.mean() for i, head in enumerate(heads)}}


def _mean(heads: Sequence[Tensor]) -> Tensor:
    """Returns the mean over images and L; all heads have equal weight, however many logits they have."""
    means = [head.mean() for head in heads]
    return means[0] if len(means) == 1 else torch.stack(means).mean()


def mean_stats(*measured: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the mean of each stat over `measured`, whose entries come from equally many samples."""
    return {
        name: reduce(Tensor.add, [each[name] for each in measured]) / len(measured) for name in measured[0]
    }
