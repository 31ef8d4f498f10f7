"""StyleGAN3-T and -R against their authors' code, at the size of its published networks and at small ones.

Theirs is filled, written to a file as their loop writes it and imported, so that names, plan and filters are
compared as well. Compared are w, images (also truncated, and with the input moved), logits, the gradients of
each turn, with R's blur, and what the discriminator's turn moves.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import Batch, ImageSpec, Networks
from pipeline.models.layers import recompute_blocks
from pipeline.models.stylegan2.foreign import ada_name
from pipeline.models.stylegan3.foreign import STYLEGAN3
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import drawn
from tools.research.parity.recorded import RecordedNetwork, summary
from tools.research.parity.stylegan2 import (
    PSI,
    Theirs,
    converted,
    gradients_of,
    labels_of,
    output_rows,
    rows_of_gradients,
)
from tools.research.parity.stylegan3_code import (
    RULES,
    Magnitudes,
    importing,
    in_slices,
    one_hot,
    their_networks,
)

LANDMARK = "training/networks_stylegan3.py"
TURNS = {"generator": "Gboth", "discriminator": "Dmain", "r1": "Dreg"}
"""What their loop calls our turns."""

T: Mapping[str, Any] = {}
R: Mapping[str, Any] = {"kernel": 1, "radial": True, "channel_base": 65536, "channel_max": 1024}
SMALL = {
    **{"z_dim": 24, "w_dim": 16, "layers": 6, "channel_base": 256, "channel_max": 16},
    **{"discriminator_channel_base": 256, "discriminator_channel_max": 16, "label_mapping_layers": 2},
}


@dataclass(frozen=True)
class Size:
    """Networks to compare. changes: to our defaults. sigma: of the blur. images: in a batch."""

    name: str
    changes: Mapping[str, Any]
    spec: ImageSpec
    sigma: float = 0.0
    images: int = 1
    config: StyleGAN3Config = field(init=False)

    def __post_init__(self) -> None:
        told = {
            "minibatch_stddev_group": self.images,
            "magnitude_half_life_images": 200,
            "blur_sigma": self.sigma,
        }
        object.__setattr__(self, "config", StyleGAN3Config(**{**told, **self.changes}))


SIZES = (
    Size("T, 32px, 5 classes, clamp 2", {**SMALL, "clamp": 2.0}, ImageSpec(32, 32, 3, 5), images=4),
    Size(
        "R, 32px, blur 1.5",
        {**SMALL, **R, "channel_base": 512, "channel_max": 32},
        ImageSpec(32, 32, 1),
        sigma=1.5,
        images=4,
    ),
    Size("T, 1024px", T, ImageSpec(1024, 1024, 3)),
    Size("R, 1024px, blur 10", R, ImageSpec(1024, 1024, 3), sigma=10),
)


def compare(checkout: Path) -> list[ParityRow]:
    """Every size's rows."""
    with importing(checkout), in_slices():
        return [row for size in SIZES for row in compare_size(size)]


def compare_size(size: Size) -> Iterator[ParityRow]:
    """The rows of one size."""
    theirs = their_networks(size.config, size.spec, size.images)
    told = ("magnitude_half_life_images", "blur_sigma", "r1_gamma", "w_avg_decay")
    family, networks = converted(theirs, STYLEGAN3, {key: getattr(size.config, key) for key in told})
    recompute_blocks(networks.generator)
    yield from output_rows(size.name, theirs, family, networks, images=size.images, judged=size.images)
    yield _moved(size, theirs, networks)
    yield from _turns(size, theirs, family, networks)


@torch.no_grad()
def _moved(size: Size, theirs: Theirs, networks: Networks) -> ParityRow:
    """Images whose input a user turns, shifts and enlarges."""
    moves = torch.tensor([[0.8, -0.3, 0.1], [0.4, 0.7, -0.2], [0.0, 0.0, 1.0]])
    z, labels = drawn("input.0", (size.images, size.config.z_dim)), labels_of(size.images, size.spec)
    generator: Any = theirs.generator
    place = generator.synthesis.input.transform
    place.copy_(moves)
    wanted = theirs.images(z, labels, 1.0)
    place.copy_(torch.eye(3))
    ours = networks.generator(z, labels, moves=moves, exact=True)
    return ParityRow(size.name, "images, input moved", apart(ours, wanted), FORWARD)


class _Latents:
    """Gives the latents to whoever asks for normal numbers."""

    def __init__(self, z: Tensor) -> None:
        self._z, self.count = z, len(z)

    def normal(self, *shape: int) -> Tensor:
        assert self._z.shape[1:] == shape
        return self._z

    def first(self, count: int) -> _Latents:
        return _Latents(self._z[:count])


def _turns(size: Size, theirs: Theirs, family: Any, networks: Networks) -> Iterator[ParityRow]:
    """Gradients of each turn, and what is remembered after that of the discriminator."""
    spec, count = size.spec, size.images
    z = drawn("input.0", (count, size.config.z_dim))
    images = drawn("input.1", (count, spec.channels, spec.height, spec.width))
    reals = Batch(images, labels_of(count, spec))
    labels = one_hot(reals.labels, count, spec)
    loss, magnitudes = _their_loss(size, theirs), Magnitudes(theirs.generator)
    sides = Networks(theirs.generator, theirs.discriminator)
    for phase in family.phases:
        for net, module in (*networks.items(), *sides.items()):
            module.requires_grad_(net == phase.trains).zero_grad(set_to_none=True)
        before = _remembered(networks.generator)
        terms = phase.objective(family.game(networks, family.schedule.at(0), _Latents(z), reals), reals)
        terms.loss.mean().backward()
        family.observe(networks, terms.stats, count)
        loss.accumulate_gradients(
            phase=TURNS[phase.name], real_img=images, real_c=labels, gen_z=z, gen_c=labels, gain=1, cur_nimg=0
        )
        rename = theirs.rename if phase.trains == "generator" else ada_name
        own = dict(networks[phase.trains].named_parameters())
        yield from rows_of_gradients(size.name, phase.name, gradients_of(own, sides[phase.trains], rename))
        if phase.name == "discriminator":
            magnitudes.move()
            yield from _movements(size.name, before, networks.generator, theirs.generator)


Remembered = dict[str, Tensor]


def _remembered(generator: Any) -> Remembered:
    magnitudes = [layer.magnitude for layer in generator.synthesis.layers]
    return {"w_avg": generator.mapping.w_avg.clone(), "magnitudes": torch.stack(magnitudes)}


def _movements(name: str, before: Remembered, ours: Any, theirs: Any) -> Iterator[ParityRow]:
    """How far what is remembered moved in a turn."""
    layers = [getattr(theirs.synthesis, layer) for layer in theirs.synthesis.layer_names]
    wanted = {
        "w_avg": theirs.mapping.w_avg,
        "magnitudes": torch.stack([layer.magnitude_ema for layer in layers]),
    }
    for what, now in _remembered(ours).items():
        far = whole([(now - before[what], wanted[what] - before[what])])
        yield ParityRow(name, f"movement of {what}", far, GRADIENT)


def _their_loss(size: Size, theirs: Theirs) -> Any:
    kind = importlib.import_module("training.loss").StyleGAN2Loss
    return kind(
        torch.device("cpu"),
        theirs.generator,
        theirs.discriminator,
        r1_gamma=size.config.r1_gamma,
        blur_init_sigma=size.sigma,
        blur_fade_kimg=200,
    )


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with importing(checkout):
        return [_recorded(*case) for case in _RECORDED]


_RECORDED: tuple[tuple[str, Mapping[str, Any], int, Any, list[int]], ...] = (
    ("tiny generator, T", SMALL, 5, "generator", [3, 24]),
    ("tiny generator, R", {**SMALL, "kernel": 1, "radial": True}, 0, "generator", [3, 24]),
    ("tiny discriminator", SMALL, 5, "discriminator", [4, 3, 32, 32]),
)


@torch.no_grad()
def _recorded(
    name: str, changes: Mapping[str, Any], classes: int, net: Any, shape: list[int]
) -> RecordedNetwork:
    family = {"name": StyleGAN3Config().name, "clamp_everywhere": True, "clamp": 2.0, **changes}
    spec: dict[str, Any] = {"height": 32, "width": 32, "channels": 3, "classes": classes}
    call = {"truncation": PSI} if net == "generator" else {}
    case = RecordedNetwork(name, family, spec, net, RULES, [shape], bool(classes), call)
    theirs = their_networks(StyleGAN3Config(**family), ImageSpec(**spec), shape[0])
    first, *more = case.tensors()
    labels = more[0] if more else None
    if net == "generator":
        output = theirs.images(first, labels, PSI)
    else:
        output = theirs.logits(first, labels).reshape(-1)
    return replace(case, given=summary(output))
