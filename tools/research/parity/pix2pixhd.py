"""pix2pixHD's networks and losses beside its authors' code, github.com/NVIDIA/pix2pixHD: both generators, and
the discriminator at two scales with its least squares and its matching of features."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import Pix2PixConfig
from pipeline.contracts import Batch, Fakes, Verdict, per_image
from pipeline.losses import ADVERSARIAL, Play
from pipeline.models.translation.discriminators import Patches
from pipeline.models.translation.resnet import Enhancer, ResNet
from pipeline.models.translation.terms import FeatureMatching
from tools.research.modules import isolated, module_of, standing_in
from tools.research.parity import FORWARD, ParityRow, apart
from tools.research.parity.filling import Rule
from tools.research.parity.in_order import Layers, in_order, put, recorded, rows, stir
from tools.research.parity.recorded import RecordedNetwork

LANDMARK = "models/pix2pixHD_model.py"
IMAGES, TAKEN, MADE, HEIGHT, WIDTH = 2, 36, 3, 64, 96
LAYERS, SCALES = 3, 2


@contextmanager
def importing(checkout: Path) -> Iterator[Any]:
    """Their networks and losses."""
    with isolated(checkout), standing_in(torchvision=module_of(models=None)):
        yield importlib.import_module("models.networks")


def compare(checkout: Path) -> list[ParityRow]:
    """Both generators of the published sizes, the discriminator, and what both are told."""
    with importing(checkout) as module:
        return [*_generator_rows(module), *_discriminator_rows(module), *_loss_rows(module)]


def _generator_rows(module: Any) -> Iterator[ParityRow]:
    torch.manual_seed(1)
    norm = module.get_norm_layer()
    within = ResNet(TAKEN, MADE, 64, 4, 9), module.GlobalGenerator(TAKEN, MADE, 64, 4, 9, norm)
    yield from _double_rows("global generator", *within)
    around = Enhancer(TAKEN, MADE, 32, 4, 9, 3), module.LocalEnhancer(TAKEN, MADE, 32, 4, 9, 1, 3, norm)
    yield from _double_rows("local enhancer", *around)


def _double_rows(name: str, ours: Any, theirs: Any) -> Iterator[ParityRow]:
    """In float64: in float32 the normalisation of a few pixels magnifies rounding, to 1.4e-4 measured."""
    stir(ours)
    layers = generating(ours, theirs)
    put(layers)
    ours.double(), theirs.double()
    x = torch.rand(IMAGES, TAKEN, HEIGHT, WIDTH, dtype=torch.float64) * 2 - 1
    yield from rows(name, "float64", (lambda x: ours(x, []), theirs), layers, x)


def _discriminator_rows(module: Any) -> Iterator[ParityRow]:
    ours, theirs = _judges(module)
    x = torch.rand(IMAGES, TAKEN + MADE, HEIGHT, WIDTH, dtype=torch.float64) * 2 - 1
    for scale in range(SCALES):
        calls = (lambda x, s=scale: ours(x).heads[s]), (lambda x, s=scale: theirs(x)[s][-1].flatten(1))
        layers = judging(ours, theirs, scale)
        yield from rows("discriminator", f"scale {scale}, float64", calls, layers, x)


def _judges(module: Any) -> tuple[Any, Any]:
    torch.manual_seed(2)
    ours = Patches(TAKEN + MADE, 64, LAYERS, SCALES, affine=False, padding=2, telling=True)
    theirs = module.MultiscaleDiscriminator(
        TAKEN + MADE, 64, LAYERS, module.get_norm_layer(), num_D=SCALES, getIntermFeat=True
    )
    stir(ours)
    put([pair for scale in range(SCALES) for pair in judging(ours, theirs, scale)])
    return ours.double(), theirs.double()


def _loss_rows(module: Any) -> Iterator[ParityRow]:
    """Theirs are sums over scales and means over images; their squares lack the half of Mao et al. 2017."""
    ours, theirs = _judges(module)
    images = torch.rand(2, IMAGES, TAKEN + MADE, HEIGHT, WIDTH, dtype=torch.float64) * 2 - 1
    fake, real = map(ours, images)
    their_fake, their_real = map(theirs, images)
    told, loss = module.GANLoss(tensor=torch.DoubleTensor), ADVERSARIAL["least_squares"]
    mine, other = (
        per_image(list(map(turn, real.heads, fake.heads))).mean()
        for turn in (loss.discriminator, loss.generator)
    )
    pairs = {
        "discriminator": (mine, (told(their_fake, False) + told(their_real, True)) / 2),
        "generator": (2 * other, told(their_fake, True)),
        "features": (_matching(fake, real), _their_matching(their_fake, their_real)),
    }
    for what, values in pairs.items():
        yield ParityRow("losses", f"{what}, float64", apart(*values), FORWARD)


def _matching(fake: Verdict, real: Verdict) -> Tensor:
    nothing: Any = None
    play = Play(nothing, Batch(torch.zeros(IMAGES)), Fakes(torch.zeros(IMAGES), None, nothing), real, fake)
    return FeatureMatching(10)(play).loss.mean()


def _their_matching(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """As their model adds it up: 4 / (layers + 1) for a layer, 1 / scales for a scale, 10 for all."""
    apart = [
        F.l1_loss(one, other)
        for ours, theirs in zip(fake, real, strict=True)
        for one, other in zip(ours[:-1], theirs[:-1], strict=True)
    ]
    return 10 * 4 / (LAYERS + 1) / SCALES * torch.stack(apart).sum()


def generating(ours: Any, theirs: Any) -> Layers:
    """The layers of both generators; theirs cuts off the last one of the inner network."""
    if isinstance(ours, ResNet):
        return in_order(ours, theirs)
    inner = [ours.inner.stem, ours.inner.blocks, ours.inner.rise]
    return in_order(nn.ModuleList([*inner, ours.stem, ours.blocks, ours.rise, ours.last]), theirs)


def judging(ours: Any, theirs: Any, scale: int) -> Layers:
    """The layers of both discriminators at one scale, which theirs counts from the smallest."""
    layers = nn.ModuleList(getattr(theirs, f"scale{SCALES - 1 - scale}_layer{i}") for i in range(LAYERS + 2))
    return in_order(ours.scales[scale], layers)


RULES: tuple[Rule, ...] = ((r"bias$", 0.1, 0.0), (r"weight$", 0.1, 0.0))


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with importing(checkout) as module:
        norm = module.get_norm_layer()
        within = module.GlobalGenerator(MADE, MADE, 8, 2, 2, norm)
        around = module.LocalEnhancer(MADE, MADE, 4, 2, 2, 1, 1, norm)
        return [
            recorded(_case("resnet", {"generator_channels": 8}), within, generating),
            recorded(_case("enhancer", {"generator_channels": 4, "enhancer_blocks": 1}), around, generating),
        ]


def _case(generator: str, changes: dict[str, Any]) -> RecordedNetwork:
    name = Pix2PixConfig().name
    family = {"name": name, "generator": generator, "halvings": 2, "blocks": 2, "discriminator_layers": 1}
    image = {"name": "input", "kind": "image", "shape": [32, 32, MADE]}
    spec = {"height": 32, "width": 32, "channels": MADE, "classes": 0, "fields": [image]}
    inputs = [[2, MADE, 24, 16]]
    return RecordedNetwork(
        f"tiny generator, {generator}",
        {**family, **changes},
        spec,
        "generator",
        RULES,
        inputs,
        call={"noise": []},
    )
