"""The two main objectives: an adversarial loss and the terms that are added to it in the same turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Game, LevelledGame, Terms, Verdict, per_image
from pipeline.float32 import detached
from pipeline.losses.adversarial import Adversarial

Side = Literal["reals", "fakes"]


@dataclass(frozen=True)
class Play:
    """The state of one turn, from which the added terms are computed.

    reals, fakes: the two batches. real, fake: the verdicts on them; `real` is None if the reals were not
    judged. slopes: the results of `squared_gradients`, in the graph, for each side with respect to which the
    turn takes gradients.
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
        loss = per_image(list(map(self.loss.generator, compared.heads, fake.heads)))
        terms = Terms(loss, {"loss/generator": loss.detach().mean()})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake))


class DiscriminatorTurn:
    """The discriminator's loss on one batch; its stats include the logits' means and signs.

    by: the sides with respect to whose images an extra term takes gradients. Their images become leaves of
    the graph, and the verdicts are exact. observed: returns further stats of the fakes (StyleGAN's mean w).
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
            fakes = as_leaves(fakes)
        fake, real = self._judged(game, fakes, reals)
        slopes = self._slopes({"reals": (real, (reals.images,)), "fakes": (fake, fakes.seen)})
        loss = per_image(list(map(self.loss.discriminator, real.heads, fake.heads)))
        stats = {"loss/discriminator": loss.detach().mean(), **logit_stats(real, fake)}
        measured = {**fakes.stats, **mean_stats(real.stats, fake.stats)}
        terms = Terms(loss, {**stats, **measured, **self.observed(fakes)})
        return with_extras(terms, self.extras, Play(game, reals, fakes, real, fake, slopes))

    def _judged(self, game: Game, fakes: Fakes, reals: Batch) -> tuple[Verdict, Verdict]:
        if len(self.by) != 1:
            return game.judge_both(fakes, reals, exact=bool(self.by))
        # Separately: the gradient with respect to one side's images would otherwise pass through the other's.
        fake = judge_fakes(game, fakes, exact=True)
        return fake, game.judge(reals.images, reals.labels, exact=True)

    def _slopes(self, sides: Mapping[Side, tuple[Verdict, Sequence[Tensor]]]) -> dict[Side, Tensor]:
        if not self.by:
            return {}
        verdicts, seen = zip(*(sides[side] for side in self.by), strict=True)
        return dict(zip(self.by, squared_gradients(verdicts, seen), strict=True))


def with_extras(terms: Terms, extras: Sequence[Extra], play: Play) -> Terms:
    """Returns the terms with the losses of all extras added and their stats included."""
    loss, stats = terms.loss, dict(terms.stats)
    for extra in extras:
        more = extra(play)
        loss = loss + more.loss
        stats |= more.stats
    return Terms(loss, stats)


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


def as_leaves(fakes: Fakes) -> Fakes:
    """Returns the same fakes as leaves of a graph, so that gradients with respect to them can be taken."""
    seen = tuple(image.detach().requires_grad_() for image in fakes.seen)
    return replace(fakes, images=seen[-1], levels=None if fakes.levels is None else seen)


def squared_gradients(verdicts: Sequence[Verdict], seen: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Returns |grad D(x)|^2 of each image, [N] for each verdict, in a graph of second order.

    D(x) is the sum of an image's logits over L and over heads. It is not a mean over L, in agreement with the
    public code of papers that penalise patch discriminators (R1: Suvorov et al. 2022; gradient penalty: Zhu
    et al. 2017); gamma therefore acts L^2 times as strongly as on a mean. seen: the images that each verdict
    is about, as one tensor [N, C, H, W] or one per level; the squares of all levels are summed.
    """
    # Summing over the batch gives each image's own gradient, apart from what minibatch statistics mix.
    logits = [head.sum() for verdict in verdicts for head in verdict.heads]
    leaves = [images for each in seen for images in each]
    gradients = iter(torch.autograd.grad(logits, leaves, create_graph=True))
    squares = [[next(gradients).square().sum(dim=[1, 2, 3]) for _ in each] for each in seen]
    return [reduce(Tensor.add, each) for each in squares]


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
