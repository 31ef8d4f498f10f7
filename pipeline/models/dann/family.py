"""The family: one player, its schedule, and its turn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import DANNConfig
from pipeline.contracts import (
    PIXELS,
    SECOND,
    AdamRule,
    Batch,
    Fakes,
    Game,
    ImageSpec,
    Needs,
    Net,
    Networks,
    Phase,
    Randomness,
    Rule,
    Sampler,
    Schedule,
    SGDRule,
    Stage,
    Terms,
)
from pipeline.errors import UserError
from pipeline.models.dann.network import Classifier, told_apart
from pipeline.models.dann.sampler import ClassifyingSampler
from pipeline.models.groups import check_groups
from pipeline.models.layers import follow_moments, measuring
from pipeline.models.plain import PlainGame
from pipeline.models.precision import refuse_low_precision
from pipeline.models.schedule import ConstantSchedule, with_rates

REVERSAL = "reversal"
"""The name of lambda among a stage's weights."""
_LEAST = 4  # pixels a side, which are halved twice


@dataclass(frozen=True)
class AdaptingSchedule(ConstantSchedule):
    """One stage, whose rates fall as 1 / (1 + 10 p)^0.75 while lambda = 2 / (1 + exp(-10 p)) - 1 rises, p
    being the share of `adapt_images` that has been seen, at most 1 (Ganin et al. 2016, section 5.2.2)."""

    def at(self, images_seen: int) -> Stage:
        config = self.config
        assert isinstance(config, DANNConfig)
        p = min(images_seen / config.adapt_images, 1.0)
        weight = config.adapt_weight * (2 / (1 + math.exp(-10 * p)) - 1)
        return with_rates(replace(super().at(images_seen), weights={REVERSAL: weight}), (1 + 10 * p) ** -0.75)


@dataclass(frozen=True)
class AdaptingGame(PlainGame):
    """Its images are those of the second set, with the classes that they are taken for."""

    reals: Batch | None = None

    @property
    def network(self) -> Classifier:
        """The only player."""
        return self.networks.generator  # type: ignore[return-value]

    @torch.no_grad()
    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        assert self.reals is not None, "it plays with reals alone"
        images = self.reals.extra[SECOND][:count]
        features = self.network.features(images)
        return Fakes(images, self.network.label(features).argmax(dim=1), features)


def adapting_turn(game: Game, reals: Batch) -> Terms:
    """Returns the loss of the classes of the first set, and that of the head that tells the sets apart, whose
    gradient the features take reversed (Ganin et al. 2016, eq. 9, 10 and 18)."""
    adapting: AdaptingGame = game  # type: ignore[assignment]
    assert reals.labels is not None
    first, second = reals.images, reals.extra[SECOND]
    with measuring("generator", adapting.network) as moments:
        logits, of_first, of_second = adapting.network.both(first, second, game.stage.weights[REVERSAL])
    classes = F.cross_entropy(logits, reals.labels, reduction="none")
    sets = told_apart(of_first, of_second)
    known = ((of_first < 0).float() + (of_second > 0).float()) / 2
    stats = {
        "loss/classes": classes,
        "loss/sets": sets,
        "told/class": (logits.argmax(dim=1) == reals.labels).float(),
        "told/set": known,
    }
    means = {name: value.detach().mean() for name, value in stats.items()}
    return Terms(classes + sets, means | moments)


class DANN:
    """Implements contracts.Family for labelled images from 4 pixels a side. The discriminator is empty."""

    codec = PIXELS

    def __init__(
        self,
        config: DANNConfig,
        spec: ImageSpec,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
    ) -> None:
        """Raises UserError for images or a precision that the family cannot use."""
        refuse_low_precision(config, low_precision)
        if not spec.classes:
            raise UserError(
                f"{config.name} learns classes, and data.path has no labels; prepare it with labels"
            )
        if min(spec.height, spec.width) < _LEAST:
            raise UserError(
                f"{config.name} cannot classify images of {spec.height}x{spec.width} (height x width); "
                f"allowed: {_LEAST} pixels a side and more"
            )
        self.config, self.spec = config, spec
        self.fixtures: Mapping[str, nn.Module] = {}
        self.needs = Needs(second=True)
        self.memory: nn.Module = nn.Module()
        rule: Rule = SGDRule(config.momentum)
        if config.optimizer == "adam":
            rule = AdamRule(config.adam_beta1, config.adam_beta2, config.adam_eps)
        self.optimizers: Mapping[Net, Rule] = {"generator": rule, "discriminator": rule}
        once: Mapping[Net, float] = {"generator": 1.0, "discriminator": 1.0}
        self.schedule: Schedule = AdaptingSchedule(config, spec.height, batch_size, batch_size, once)
        self.phases: tuple[Phase, ...] = (Phase("generator", "generator", adapting_turn),)

    def networks(self) -> Networks:
        return Networks(Classifier(self.config, self.spec), nn.Module())

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        return AdaptingGame(networks, stage, randomness, reals=reals)

    def check_batch(self, images: int) -> None:
        """Requires whole groups of images, if there are groups."""
        check_groups("family.batch_norm_group", self.config.batch_norm_group or 1, images)

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        follow_moments(networks, stats)

    def figures(self) -> Mapping[str, Tensor]:
        return {}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        return ClassifyingSampler(generator, self.config.name)
