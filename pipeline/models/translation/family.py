"""All but networks and inputs of a family that makes images of images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import Translating
from pipeline.contracts import (
    Batch,
    Fixture,
    Game,
    ImageSpec,
    Needs,
    Networks,
    Phase,
    Randomness,
    Sampler,
    Stage,
)
from pipeline.errors import UserError
from pipeline.losses import ADVERSARIAL, DiscriminatorTurn, Extra
from pipeline.models.phases import discriminator_phases
from pipeline.models.plain import PlainFamily
from pipeline.models.translation.game import Giving, TranslationGame
from pipeline.models.translation.generator import TranslatingGenerator
from pipeline.models.translation.sampler import TranslationSampler
from pipeline.models.translation.schedule import DecayingSchedule
from pipeline.models.translation.terms import ADVERSARIAL_WEIGHT, Distance, Looks, TranslatorTurn

PERCEPTUAL = "perceptual"


class TranslationFamily(PlainFamily):
    """A subclass gives `networks` and calls this with what its generator is given.

    Implements contracts.Family. Labels are ignored. giving: makes of samples what the generator is given.
    told: whether the discriminator sees it too. extras: terms of verdicts in the generator's turn; compares:
    whether they compare those of fakes and reals. perceptual: makes the fixture that features are compared
    by. begins: of further weights of the stage, see `DecayingSchedule`. target: makes of the
    reals what fakes are pulled towards; None for the reals themselves. pulls: in the place of the plain
    distance. turns: make those of generator and discriminator, where they are not the usual ones.
    """

    config: Any
    judges_alone = True
    plays = TranslationGame

    def __init__(
        self,
        config: Translating,
        spec: ImageSpec,
        giving: Giving,
        *,
        batch_size: int,
        low_precision: torch.dtype | None = None,
        told: bool = True,
        extras: Sequence[Extra] = (),
        compares: bool = False,
        perceptual: Fixture | None = None,
        begins: Mapping[str, tuple[int, float]] | None = None,
        target: Callable[[Tensor], Tensor] | None = None,
        pulls: Sequence[Extra] | None = None,
        turns: tuple[Callable[..., TranslatorTurn], Callable[..., DiscriminatorTurn]] | None = None,
    ) -> None:
        images = batch_size * config.discriminator_repeats
        adversarial = {ADVERSARIAL_WEIGHT: (config.adversarial_from_images, config.adversarial_weight)}
        super().__init__(
            config,
            replace(spec, classes=0),
            batch_size=batch_size,
            low_precision=low_precision,
            schedule=DecayingSchedule(
                config,
                spec.height,
                batch_size,
                images,
                {"generator": 1.0, "discriminator": 1.0},
                {**adversarial, **(begins or {})},
            ),
        )
        self.giving, self.told = giving, told
        pulling = list(pulls or ())
        if pulls is None and config.distance_weight:
            pulling.append(Distance(config.distance_weight, target))
        fixtures = {}
        if config.perceptual_weight:
            if perceptual is None:
                raise UserError(
                    f"family.perceptual_weight: {self.config.name} compares no features; allowed: 0"
                )
            fixtures[PERCEPTUAL] = perceptual
            pulling.append(Looks(config.perceptual_weight, lambda: self.fixtures[PERCEPTUAL], target))
        self._needs = Needs(fields=giving.fields, fixtures=fixtures)
        make_turn, make_judging = turns or (TranslatorTurn, DiscriminatorTurn)
        turn = make_turn(ADVERSARIAL[config.loss], pulling, extras, compares=compares)
        judging = [
            replace(phase, begins=config.adversarial_from_images)
            for phase in discriminator_phases(config, self.losses, make_turn=make_judging)
        ]
        self.phases: tuple[Phase, ...] = (*judging, Phase("generator", "generator", turn))

    @property
    def needs(self) -> Needs:
        return self._needs

    @abstractmethod
    def networks(self) -> Networks: ...

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        shown = None if reals is None else self.shown(reals, randomness)
        return self.plays(
            networks,
            stage,
            randomness,
            alone=self.judges_alone,
            group=self.group,
            inputs=None if shown is None else self.giving.inputs(shown, randomness),
            told=self.told,
            how=self.how(stage),
            shown=shown,
        )

    def shown(self, reals: Batch, randomness: Randomness) -> Batch:
        """Returns what this family makes of reals before it plays with them."""
        return reals

    def how(self, stage: Stage) -> Mapping[str, Any]:
        """Returns further arguments of the generator at this stage."""
        return {}

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        made: TranslatingGenerator = generator  # type: ignore[assignment]
        return TranslationSampler(made, self.config.name, self.giving, self.spec)
