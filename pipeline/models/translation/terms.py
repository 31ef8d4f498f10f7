"""The turn of a translator, and the terms that pull what it makes towards what was to be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from pipeline.contracts import Batch, Game, Terms, Verdict
from pipeline.losses import Adversarial, Extra, GeneratorTurn, Play, judge_fakes, with_extras

ADVERSARIAL_WEIGHT = "adversarial"
"""The name of the adversarial loss's weight in `Stage.weights`, which has it once there is such a loss."""


class TranslatorTurn(GeneratorTurn):
    """The generator's loss on one batch: terms of its images, and the discriminator's verdict once the stage
    has a weight for it.

    compares: whether a term compares the verdicts on fakes and reals, so that reals are judged too. pulls:
    terms of the images alone. extras: terms of verdicts.
    """

    def __init__(
        self,
        loss: Adversarial,
        pulls: Sequence[Extra],
        extras: Sequence[Extra] = (),
        *,
        compares: bool = False,
    ) -> None:
        super().__init__(loss, extras)
        self.pulls = tuple(pulls)
        self.compares = compares or loss.pairs

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = game.generate(len(reals), reals.labels)
        judged = ADVERSARIAL_WEIGHT in game.stage.weights
        if not judged:
            nothing = reals.images.new_zeros(len(reals))
            terms = with_extras(Terms(nothing), self.pulls, Play(game, reals, fakes, None, Verdict(nothing)))
        else:
            fake = judge_fakes(game, fakes)
            real = game.judge(reals.images, reals.labels) if self.compares else None
            loss = self.compared(game, real if real is not None and self.loss.pairs else fake, fake)
            terms = Terms(
                loss * game.stage.weights[ADVERSARIAL_WEIGHT], {"loss/adversarial": loss.detach().mean()}
            )
            play = Play(game, reals, fakes, real, fake)
            terms = with_extras(terms, [*self.pulls, *self.extras], play)
        return replace(terms, stats={**terms.stats, "loss/generator": terms.loss.detach().mean()})


@dataclass(frozen=True)
class Distance:
    """weight * mean |fake - real| over the numbers of an image (Isola et al. 2017, eq. 3). target: makes of
    reals what is aimed at; None for themselves."""

    weight: float
    target: Callable[[Tensor], Tensor] | None = None

    def __call__(self, play: Play) -> Terms:
        distance = (play.fakes.images - _target(self.target, play)).abs().flatten(1).mean(dim=1)
        return Terms(self.weight * distance, {"loss/distance": distance.detach().mean()})


@dataclass(frozen=True)
class FeatureMatching:
    """weight * the mean over scales of the sum over layers of mean |features of fake - of real| (Wang et al.
    2018, eq. 4; the mean over scales is the authors' code's)."""

    weight: float

    def __call__(self, play: Play) -> Terms:
        assert play.real is not None, "reals are judged where features are compared"
        apart = [
            (fake - play.real.extra[name].detach()).abs().flatten(1).mean(dim=1)
            for name, fake in play.fake.extra.items()
        ]
        scales = len(play.fake.heads)
        distance = sum(apart[1:], apart[0]) / scales
        return Terms(self.weight * distance, {"loss/features": distance.detach().mean()})


@dataclass(frozen=True)
class Looks:
    """weight * the distance of features of a fixture that was trained on photographs (Johnson et al. 2016,
    eq. 2)."""

    weight: float
    network: Callable[[], nn.Module]
    target: Callable[[Tensor], Tensor] | None = None

    def __call__(self, play: Play) -> Terms:
        distance = self.network()(play.fakes.images, _target(self.target, play))
        return Terms(self.weight * distance, {"loss/perceptual": distance.detach().mean()})


def _target(target: Callable[[Tensor], Tensor] | None, play: Play) -> Tensor:
    return play.reals.images if target is None else target(play.reals.images)
