"""The family: a schedule that halves its rates, networks that are told texts, and the terms of texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from pipeline.config.families import TextGANConfig
from pipeline.contracts import Batch, Field, Game, ImageSpec, Needs, Net, Networks, Randomness, Sampler, Stage
from pipeline.errors import UserError
from pipeline.losses import ADVERSARIAL, Extra
from pipeline.models.groups import check_groups
from pipeline.models.phases import lazy_factors
from pipeline.models.plain import PlainFamily
from pipeline.models.schedule import ConstantSchedule, halved
from pipeline.models.sides import ALLOWED, sides_of
from pipeline.models.textgan.game import TextGame
from pipeline.models.textgan.networks import Discriminator, Generator
from pipeline.models.textgan.sampler import TextSampler
from pipeline.models.textgan.turns import Between, Matching, MatchingAware

_KINDS = {"text": "text", "vector": "array"}
"""The kind of each field that texts may come from."""


@dataclass(frozen=True)
class HalvingSchedule(ConstantSchedule):
    """One stage, whose rates are halved each time `halve_images` have been seen; None: never."""

    halve_images: int | None = None

    def at(self, images_seen: int) -> Stage:
        return halved(super().at(images_seen), images_seen, self.halve_images)


class TextGAN(PlainFamily):
    """Implements contracts.Family for images of at least two levels of `models.sides`, with a text beside
    each. Labels are ignored: `spec` has no classes."""

    config: TextGANConfig

    def __init__(self, config: TextGANConfig, spec: ImageSpec, *, batch_size: int, **settings: Any) -> None:
        """Raises UserError for images or fields that the family cannot use."""
        spec = replace(spec, classes=0)
        sides = sides_of(spec.height, spec.width)
        if not sides.begins or not sides.doublings:
            raise UserError(
                f"{config.name} cannot make images of {spec.height}x{spec.width} (height x width); allowed: "
                f"at least once doubled {ALLOWED}"
            )
        self.field = "vector" if config.encoder == "vector" else "text"
        self.text_dim = _text_dim(config, self.field, spec)
        images = batch_size * config.discriminator_repeats
        schedule = HalvingSchedule(
            config, spec.height, batch_size, images, lazy_factors(config), config.halve_images
        )
        extras = _extras(config)
        super().__init__(config, spec, batch_size=batch_size, schedule=schedule, extras=extras, **settings)
        self.group = config.group

    @cached_property
    def needs(self) -> Needs:
        return Needs(fields=(self.field,))

    def networks(self) -> Networks:
        sizes = self.config, self.spec, self.text_dim
        return Networks(Generator(*sizes), Discriminator(*sizes))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        texts = None if reals is None else reals.extra[self.field]
        return TextGame(networks, stage, randomness, self.hiding(stage), group=self.config.group, texts=texts)

    def check_batch(self, images: int) -> None:
        check_groups("family.group", self.config.group, images)

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        return TextSampler(generator, self.config.name, self.field)


def _extras(config: TextGANConfig) -> dict[Net, list[Extra]]:
    loss = ADVERSARIAL[config.loss]
    extras: dict[Net, list[Extra]] = {"generator": [], "discriminator": []}
    if config.wrong_weight:
        extras["discriminator"].append(MatchingAware(loss, config.wrong_weight))
    if config.interpolation_weight:
        extras["generator"].append(Between(loss, config.interpolation_weight))
    if config.encoder == "joint":
        extras["generator"].append(Matching(config.matching_weight))
    return extras


def _text_dim(config: TextGANConfig, field: str, spec: ImageSpec) -> int:
    """Returns how many numbers a text becomes. Raises UserError without the field, or if it is of another
    kind."""
    found: Field | None = next((each for each in spec.fields if each.name == field), None)
    asked = f"family.encoder={config.encoder}"
    if found is None:
        there = ", ".join(each.name for each in spec.fields) or "none"
        raise UserError(f"{asked}: needs the field {field}, which the data's samples lack; there are {there}")
    if (found.kind, len(found.shape)) != (_KINDS[field], 1):
        raise UserError(
            f"{asked}: needs a field {field} of kind {_KINDS[field]} and one dimension; the data's is "
            f"{found.kind} of {list(found.shape)}"
        )
    return found.shape[0] if field == "vector" else config.text_dim
