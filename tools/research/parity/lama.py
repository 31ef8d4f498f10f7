"""LaMa's generator beside its authors' code, github.com/advimman/lama, in evaluation and in training, where a
group is the whole batch. Theirs has a sigmoid at its end and ours a hyperbolic tangent, which theirs can be
told. Discriminators are not compared: theirs has batch normalisation."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.config.families import InpaintingConfig
from pipeline.models.translation.fourier import FourierConv, FourierNet
from tools.research.modules import isolated, module_of, package_of, standing_in
from tools.research.parity import ParityRow
from tools.research.parity.filling import Rule
from tools.research.parity.in_order import Layers, put, recorded, rows, stir
from tools.research.parity.recorded import RecordedNetwork

LANDMARK = "saicinpainting/training/modules/ffc.py"
IMAGES = 2
SIZES = ((64, 18, 64), (16, 3, 96))
"""Channels, blocks, pixels a side."""


@contextmanager
def importing(checkout: Path) -> Iterator[Any]:
    """Their networks."""
    folder = checkout / "saicinpainting"
    stand_ins = {
        "saicinpainting": package_of(folder),
        "saicinpainting__training__modules": package_of(folder / "training/modules"),
        "pytorch_lightning": module_of(seed_everything=None),
        "kornia": module_of(),
        "kornia__geometry": module_of(),
        "kornia__geometry__transform": module_of(rotate=None),
    }
    with ExitStack() as stack:
        stack.enter_context(isolated(checkout))
        stack.enter_context(standing_in(**stand_ins))
        yield importlib.import_module("saicinpainting.training.modules.ffc")


def compare(checkout: Path) -> list[ParityRow]:
    """Outputs and gradients in both modes."""
    with importing(checkout) as module:
        return [row for size in SIZES for row in _rows(module, *size)]


def _rows(module: Any, width: int, blocks: int, side: int) -> Iterator[ParityRow]:
    torch.manual_seed(1)
    ours: Any = FourierNet(4, 3, width, 3, blocks, 0.75, IMAGES)
    theirs = _theirs(module, width, blocks, 3)
    stir(ours)
    layers = pairs(ours, theirs)
    for training in (False, True):
        put(layers)
        ours.train(training), theirs.train(training)
        what = "training" if training else "evaluation"
        x = torch.rand(IMAGES, 4, side, side + 16, dtype=torch.float64)
        # In float64: in float32 a ReLU at the edge of 0 that falls to the other side moves gradients.
        ours.double(), theirs.double()
        compared = [pair for pair in layers if not isinstance(pair[1], Joined)]
        yield from rows(
            f"LaMa, {width} wide, {blocks} blocks", what, (lambda x: ours(x, []), theirs), compared, x
        )


def _theirs(module: Any, width: int, blocks: int, halvings: int) -> Any:
    plain = {"ratio_gin": 0, "ratio_gout": 0, "enable_lfu": False}
    return module.FFCResNetGenerator(
        4, 3, ngf=width, n_downsampling=halvings, n_blocks=blocks, add_out_act="tanh",
        init_conv_kwargs=plain, downsample_conv_kwargs=plain,
        resnet_conv_kwargs={"ratio_gin": 0.75, "ratio_gout": 0.75, "enable_lfu": False},
    )  # fmt: skip


def pairs(ours: FourierNet, theirs: Any) -> Layers:
    """The layers of both. Their last halving has two convolutions and two normalisations where ours has one
    of each: they get parts of it."""
    stages, halvings = list(theirs.model), len(ours.downs)
    first, *downs = stages[1 : 2 + halvings]
    blocks = stages[2 + halvings : 2 + halvings + len(ours.blocks)]
    found: list[tuple[Any, Any]] = [(ours.first, first.ffc.convl2l), (ours.first_norm, first.bn_l)]
    for i, down in enumerate(downs[:-1]):
        found += [(ours.downs[i], down.ffc.convl2l), (ours.down_norms[i], down.bn_l)]
    found += [(ours.downs[-1], Joined(downs[-1].ffc.convl2l, downs[-1].ffc.convl2g))]
    found += [(ours.down_norms[-1], Joined(downs[-1].bn_l, downs[-1].bn_g))]
    for block, other in zip(ours.blocks, blocks, strict=True):
        found += [*_of_layer(block.first, other.conv1), *_of_layer(block.second, other.conv2)]  # type: ignore[arg-type]
    rising = stages[3 + halvings + len(blocks) : -3]
    for i in range(halvings):
        found += [(ours.ups[i], rising[3 * i]), (ours.up_norms[i], rising[3 * i + 1])]
    return [*found, (ours.last, stages[-2])]


def _of_layer(layer: FourierConv, other: Any) -> Layers:
    ffc, spectrum = other.ffc, layer.whole_to_whole
    return [
        (layer.near_to_near, ffc.convl2l),
        (layer.near_to_whole, ffc.convl2g),
        (layer.whole_to_near, ffc.convg2l),
        (spectrum.enter, ffc.convg2g.conv1[0]),
        (spectrum.enter_norm, ffc.convg2g.conv1[1]),
        (spectrum.within, ffc.convg2g.fu.conv_layer),
        (spectrum.within_norm, ffc.convg2g.fu.bn),
        (spectrum.leave, ffc.convg2g.conv2),
        (layer.near_norm, other.bn_l),
        (layer.whole_norm, other.bn_g),
    ]


class Joined:
    """Layers of theirs whose results lie one behind the other. Its tensors can be given values, not
    read."""

    def __init__(self, *layers: nn.Module) -> None:
        self.layers = layers

    def __getattr__(self, name: str) -> Any:
        parts = [getattr(layer, name) for layer in self.layers]
        return None if parts[0] is None else JoinedTensor(parts)


class JoinedTensor:
    """Tensors of theirs along the first dimension of one of ours."""

    def __init__(self, parts: list[torch.Tensor]) -> None:
        self.parts = parts

    def copy_(self, whole: torch.Tensor) -> None:
        """Gives each its part."""
        for part, value in zip(self.parts, torch.split(whole, [len(p) for p in self.parts]), strict=True):
            part.copy_(value)


RULES: tuple[Rule, ...] = (
    (r"gain$", 0.3, 1.0),
    (r"running_var$", 0.2, 1.0),
    (r"(bias|running_mean)$", 0.3, 0.0),
    (r"weight$", 0.15, 0.0),
)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    family = {
        "name": InpaintingConfig().name,
        "generator_channels": 4,
        "halvings": 2,
        "blocks": 2,
        "batch_norm_group": 4,
    }
    spec = {"height": 64, "width": 64, "channels": 3, "classes": 0}
    with importing(checkout) as module:
        cases = []
        for training in (False, True):
            name = f"tiny generator, fourier, in {'training' if training else 'evaluation'}"
            case = RecordedNetwork(
                name,
                family,
                spec,
                "generator",
                RULES,
                [[4, 4, 24, 16]],
                call={"noise": []},
                training=training,
            )
            cases.append(recorded(case, _theirs(module, 4, 2, 2), pairs))
        return cases
