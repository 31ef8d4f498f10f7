"""The terms that texts add to the two turns."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.contracts import Terms
from pipeline.losses import Adversarial, Play
from pipeline.models.textgan.encoders import matching_loss
from pipeline.models.textgan.game import TextGame
from pipeline.models.textgan.networks import FEATURES


@dataclass(frozen=True)
class MatchingAware:
    """The discriminator's loss on real images with wrong texts in the place of a share `weight` of that on
    fakes: log s_r + (log(1 - s_w) + log(1 - s_f)) / 2 at 0.5 (Reed et al. 2016a, algorithm 1, line 9), and
    likewise for every adversarial loss."""

    loss: Adversarial
    weight: float

    def __call__(self, play: Play) -> Terms:
        game: TextGame = play.game  # type: ignore[assignment]
        real = play.real
        assert real is not None
        wrong = game.rejoined(real.extra[FEATURES])
        of_fakes = self.loss.discriminator(real.heads[0], play.fake.heads[0])
        of_wrong = self.loss.discriminator(real.heads[0], wrong)
        return Terms(self.weight * (of_wrong - of_fakes), {"logits/wrong": wrong.detach().mean()})


@dataclass(frozen=True)
class Between:
    """The generator's loss on texts half-way between two of the batch (Reed et al. 2016a, eq. 5, at 0.5)."""

    loss: Adversarial
    weight: float

    def __call__(self, play: Play) -> Terms:
        game: TextGame = play.game  # type: ignore[assignment]
        between = (game.told + game.wrong) / 2
        fake = game.judge_told(game.paint(between).images, between).heads[0]
        compared = fake if play.real is None else play.real.heads[0]
        loss = self.loss.generator(compared, fake)
        return Terms(self.weight * loss, {"loss/between": loss.detach().mean()})


@dataclass(frozen=True)
class Matching:
    """The loss by which encoder and matcher learn which image a text belongs to. Its stat `matching/found` is
    the share of images that fit their own text best within the group."""

    weight: float

    def __call__(self, play: Play) -> Terms:
        game: TextGame = play.game  # type: ignore[assignment]
        matcher = game.generator.matcher
        assert matcher is not None
        images, texts = matcher(play.reals.images), game.generator.encoder(game.texts)
        products = matcher.products(images, texts, game.group)
        loss = matching_loss(products)
        own = products.diagonal(dim1=1, dim2=2)
        found = (own >= products.amax(dim=2)).float()
        stats = {"loss/matching": loss.detach().mean(), "matching/found": found.detach().mean()}
        return Terms(self.weight * loss, stats)
