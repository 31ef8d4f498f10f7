"""The two turns, in which objects count by themselves, and the terms of boxes and kinds of objects (Johnson
et al. 2018, section 3, "training")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Game, Terms, Verdict, per_image
from pipeline.losses import Adversarial, DiscriminatorTurn, Extra, GeneratorTurn, Play
from pipeline.models.sg2im.game import SceneGame
from pipeline.models.sg2im.layout import overlap
from pipeline.models.sg2im.networks import CLASSES
from pipeline.models.sg2im.scene import Scene


class DrawingScenes(GeneratorTurn):
    """The generator's turn. weight: of the adversarial losses."""

    def __init__(self, loss: Adversarial, weight: float, extras: Sequence[Extra]) -> None:
        super().__init__(loss, extras)
        self.weight = weight

    def compared(self, game: Game, real: Verdict, fake: Verdict) -> Tensor:
        return self.weight * _of_scenes(game, list(map(self.loss.generator, real.heads, fake.heads)))


class JudgingScenes(DiscriminatorTurn):
    """The discriminators' turn."""

    def compared(self, game: Game, real: Verdict, fake: Verdict) -> Tensor:
        return _of_scenes(game, list(map(self.loss.discriminator, real.heads, fake.heads)))


@dataclass(frozen=True)
class BoxErrors:
    """weight * the mean over an image's objects of the squared error of their boxes. Its stat `boxes/overlap`
    is the mean over images of that over their objects of the intersection over union of boxes and their
    predictions, without the image's own."""

    weight: float

    def __call__(self, play: Play) -> Terms:
        scene, boxes, predicted = _scene(play.game), _boxes(play.game), play.fakes.latents
        errors = scene.mean((predicted - boxes).square().mean(dim=2))
        own = scene.present * (scene.objects > 0)
        shares = (overlap(predicted, boxes) * own).sum(dim=1) / own.sum(dim=1).clamp(min=1)
        stats = {"loss/boxes": errors, "boxes/overlap": shares}
        return Terms(self.weight * errors, {name: value.detach().mean() for name, value in stats.items()})


@dataclass(frozen=True)
class ObjectClasses:
    """weight * the mean over an image's objects of the cross entropy of what each is taken for, of fakes and,
    if they are judged, of reals (Odena et al. 2017, eq. 3). Its stat `classified/objects` is the share of the
    fakes' objects that are taken for what they are."""

    weight: float

    def __call__(self, play: Play) -> Terms:
        scene = _scene(play.game)
        verdicts = [play.fake] if play.real is None else [play.fake, play.real]
        losses = [
            F.cross_entropy(verdict.extra[CLASSES].transpose(1, 2), scene.objects, reduction="none")
            for verdict in verdicts
        ]
        taken = play.fake.extra[CLASSES].argmax(dim=2)
        hits = scene.mean((taken == scene.objects).float())
        return Terms(
            self.weight * scene.mean(sum(losses[1:], losses[0])), {"classified/objects": hits.mean()}
        )


def _of_scenes(game: Game, values: list[Tensor]) -> Tensor:
    """Returns the mean of the first head's values over patches and that of the second's over the objects that
    are there, added up, [N]."""
    patches, objects = values
    return per_image([patches]) + _scene(game).mean(objects)


def _scene(game: Game) -> Scene:
    scenes: SceneGame = game  # type: ignore[assignment]
    return scenes.scene


def _boxes(game: Game) -> Tensor:
    scenes: SceneGame = game  # type: ignore[assignment]
    assert scenes.boxes is not None
    return scenes.boxes
