"""The family: a game of scenes, and the terms of boxes, objects and images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from pipeline.config.families import SG2ImConfig
from pipeline.contracts import Batch, Game, ImageSpec, Needs, Networks, Phase, Randomness, Sampler, Stage
from pipeline.errors import UserError
from pipeline.losses import ADVERSARIAL, Extra
from pipeline.models.phases import discriminator_phases
from pipeline.models.plain import PlainFamily
from pipeline.models.sg2im.game import SceneGame
from pipeline.models.sg2im.networks import Discriminator, Generator, least_halved_side
from pipeline.models.sg2im.sampler import SceneSampler
from pipeline.models.sg2im.scene import BOXES, OBJECTS, TRIPLES, framed, scene_of
from pipeline.models.sg2im.turns import BoxErrors, DrawingScenes, JudgingScenes, ObjectClasses
from pipeline.models.translation.terms import Distance

_FIELDS = {OBJECTS: (None,), BOXES: (None, 4), TRIPLES: (None, 3)}
"""The shape of each field; None for any length."""


class SG2Im(PlainFamily):
    """Implements contracts.Family for images with a scene graph beside each, whose sides the generator's
    modules double. Labels are ignored: `spec` has no classes."""

    config: SG2ImConfig
    judges_alone = True
    heads = 2

    def __init__(self, config: SG2ImConfig, spec: ImageSpec, *, batch_size: int, **settings: Any) -> None:
        """Raises UserError for images or fields that the family cannot use."""
        _check_fields(spec)
        _check_sides(config, spec)
        super().__init__(config, replace(spec, classes=0), batch_size=batch_size, **settings)
        self.group = config.batch_norm_group
        pulls: list[Extra] = [BoxErrors(config.box_weight), ObjectClasses(config.class_weight)]
        if config.distance_weight:
            pulls.append(Distance(config.distance_weight))
        drawing = DrawingScenes(ADVERSARIAL[config.loss], config.adversarial_weight, pulls)
        judging = discriminator_phases(
            config, self.losses, extras=[ObjectClasses(1.0)], make_turn=JudgingScenes
        )
        self.phases: tuple[Phase, ...] = (Phase("generator", "generator", drawing), *judging)

    @property
    def needs(self) -> Needs:
        return Needs(fields=tuple(_FIELDS), upright=True)

    def networks(self) -> Networks:
        return Networks(Generator(self.config, self.spec), Discriminator(self.config, self.spec.channels))

    def game(
        self, networks: Networks, stage: Stage, randomness: Randomness, reals: Batch | None = None
    ) -> Game:
        game = SceneGame(networks, stage, randomness, self.hiding(stage), alone=True, group=self.group)
        if reals is None:
            return game
        scene = scene_of(reals.extra, self.config.objects, self.config.relations)
        return replace(game, of=scene, boxes=framed(reals.extra[BOXES].float()))

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        return SceneSampler(generator, self.config)  # type: ignore[arg-type]


def _check_fields(spec: ImageSpec) -> None:
    found = {field.name: field for field in spec.fields}
    lacking = [name for name in _FIELDS if name not in found]
    if lacking:
        there = ", ".join(found) or "none"
        raise UserError(
            f"family.name=sg2im: needs the fields {', '.join(_FIELDS)}; the data's samples lack "
            f"{', '.join(lacking)}; there are {there}"
        )
    for name, shape in _FIELDS.items():
        field = found[name]
        fits = len(field.shape) == len(shape) and field.shape[1:] == shape[1:]
        if field.kind != "array" or not fits:
            wanted = ", ".join("any" if side is None else str(side) for side in shape)
            raise UserError(
                f"family.name=sg2im: needs a field {name} of kind array and shape [{wanted}]; the data's is "
                f"{field.kind} of {list(field.shape)}"
            )
    places = {found[name].shape[0] for name in (OBJECTS, BOXES)}
    if len(places) > 1:
        raise UserError(
            f"family.name=sg2im: the data have boxes for {found[BOXES].shape[0]} objects beside "
            f"{found[OBJECTS].shape[0]}; allowed: as many"
        )


def _check_sides(config: SG2ImConfig, spec: ImageSpec) -> None:
    size = f"{spec.height}x{spec.width} (height x width)"
    divisor = 1 << (len(config.refinement_channels) - 1)
    if spec.height % divisor or spec.width % divisor:
        raise UserError(
            f"family.refinement_channels: {len(config.refinement_channels)} modules cannot make images of "
            f"{size}; allowed: sides that are multiples of {divisor}"
        )
    least = least_halved_side(config.discriminator_layers)
    if min(spec.height, spec.width, config.crop_side) < least:
        raise UserError(
            f"family.discriminator_layers={config.discriminator_layers}: images of {size} or objects of "
            f"{config.crop_side} pixels (family.crop_side) are too small; allowed: {least} pixels and more"
        )
