"""PixelCNN++ beside its authors' public code, github.com/openai/pixel-cnn, over a stand-in for TensorFlow.

Their network takes variables that ours has. Compared are what both tell of each pixel, the negative
log-likelihood of images, and its gradient with respect to all variables.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import PixelCNNConfig
from pipeline.contracts import ImageSpec
from pipeline.models.pixelcnn.network import log_prob
from pipeline.models.registry import build_family
from tools.research.modules import isolated
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.recorded import RecordedNetwork, summary
from tools.research.parity.tensorflow_functions import standing_in

PEER = "pixel-cnn"
LANDMARK = "pixel_cnn_pp/model.py"
COLOURS = 3  # of their code
LAST = "last"
"""Our layer that tells a pixel's parameters."""
RULES: tuple[Rule, ...] = (
    (r"direction$", 0.05, 0.0),
    (r"gain$", 0.2, 1.0),
    (r"bias$", 0.1, 0.0),
    (r"biases\.weight$", 0.3, 0.0),
)


@dataclass(frozen=True)
class Case:
    """A size of the network. images: how many at once, of this side."""

    name: str
    channels: int
    blocks: int
    mixtures: int
    classes: int
    images: int
    side: int

    def config(self) -> dict[str, Any]:
        """The keys of our configuration."""
        sizes = {"channels": self.channels, "blocks": self.blocks, "mixtures": self.mixtures}
        return {"name": PixelCNNConfig().name, **sizes}

    def spec(self) -> dict[str, Any]:
        """The images."""
        return {"height": self.side, "width": self.side, "channels": COLOURS, "classes": self.classes}

    def ours(self) -> nn.Module:
        """Our network, filled."""
        family = build_family(PixelCNNConfig(**self.config()), ImageSpec(**self.spec()), batch_size=8)
        network = family.networks().generator
        with torch.no_grad():
            for name, value in network.named_parameters():
                value.copy_(drawn(name, value.shape, RULES))
        return network


TINY = Case("tiny pixelcnn", 8, 2, 3, 4, 2, 8)
CASES = (TINY, Case("CIFAR-10", 160, 5, 10, 0, 1, 32))


def compare(checkout: Path) -> list[ParityRow]:
    """Every case's outputs, loss and gradients."""
    return [row for case in CASES for row in _compared(checkout, case)]


def _compared(checkout: Path, case: Case) -> Iterator[ParityRow]:
    ours = case.ours()
    variables = dict(ours.named_parameters())
    images = (drawn("images", (case.images, COLOURS, case.side, case.side)) * 60 + 127.5).round()
    images = images.clamp(0, 255) / 127.5 - 1
    labels = torch.arange(case.images) % case.classes if case.classes else None
    with importing(checkout, names_of(ours), variables) as (model, functions):
        told = _told(model, case, images, labels)
        loss = functions.discretized_mix_logistic_loss(images.permute(0, 2, 3, 1), told, sum_all=False)
        wanted = torch.autograd.grad(loss.sum(), list(variables.values()))
    found = ours(images, labels)
    yield ParityRow(case.name, "parameters of each pixel", apart(found, in_our_order(told)), FORWARD)
    nats = log_prob(ours, images, labels)  # type: ignore[arg-type]
    # Their sum is over rows and columns of each image.
    yield ParityRow(case.name, "negative log-likelihood", apart(-nats, loss), FORWARD)
    gradients = torch.autograd.grad(-nats.sum(), list(variables.values()))
    far = whole(zip(gradients, wanted, strict=True))
    yield ParityRow(case.name, "gradients of the whole network", far, GRADIENT)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    shape = [TINY.images, COLOURS, TINY.side, TINY.side]
    recorded = RecordedNetwork(
        TINY.name, TINY.config(), TINY.spec(), "generator", RULES, [shape], bool(TINY.classes)
    )
    ours = TINY.ours()
    images, labels = recorded.tensors()
    variables = dict(ours.named_parameters())
    with torch.no_grad(), importing(checkout, names_of(ours), variables) as (model, _):
        told = _told(model, TINY, images, labels)
    return [replace(recorded, given=summary(in_our_order(told)))]


@contextmanager
def importing(
    checkout: Path, names: Mapping[str, str], variables: Mapping[str, Tensor]
) -> Iterator[tuple[Any, Any]]:
    """Their model and its functions, with variables of ours. names: our layers by their scopes."""
    parts = {"V": "direction", "g": "gain", "b": "bias", "hw": "weight"}

    def variable(scope: str, name: str) -> Tensor:
        value = variables[f"{names[scope]}.{parts[name]}"]
        if names[scope] == LAST:
            value = value[places(len(value)).argsort()]
        if value.ndim == 1 or name == "hw":
            return value
        # Ours are [outputs, inputs, height, width], or [inputs, outputs, ...] where it is transposed.
        turned = value.permute(2, 3, 1, 0)
        return turned[0, 0] if scope.startswith("dense") else turned

    with isolated(checkout), standing_in(variable):
        yield importlib.import_module("pixel_cnn_pp.model"), importlib.import_module("pixel_cnn_pp.nn")


def _told(model: Any, case: Case, images: Tensor, labels: Tensor | None) -> Tensor:
    """What their network tells, [N, H, W, parameters]."""
    onehot = None if labels is None else F.one_hot(labels, case.classes).float()
    told: Tensor = model.model_spec(
        images.permute(0, 2, 3, 1),
        onehot,
        dropout_p=0.0,
        nr_resnet=case.blocks,
        nr_filters=case.channels,
        nr_logistic_mix=case.mixtures,
    )
    return told


def in_our_order(told: Tensor) -> Tensor:
    """Their parameters [N, H, W, P] as ours, [N, P, H, W]."""
    return told[..., places(told.shape[3])].permute(0, 3, 1, 2)


def places(parameters: int) -> Tensor:
    """Where theirs has each of our parameters of a pixel: after the logits it has means, scales and
    coefficients of the first colour, then of the others; ours has the means of all colours, then the scales,
    then the coefficients."""
    numbers = torch.arange(parameters)
    components = parameters // (1 + 3 * COLOURS)
    by_colour = numbers[components:].view(COLOURS, 3, components)
    return torch.cat([numbers[:components], by_colour.transpose(0, 1).flatten()])


def names_of(ours: nn.Module) -> dict[str, str]:
    """Our layers by the scopes that their code numbers in the order in which it computes."""
    kinds: dict[str, list[str]] = {"conv2d": ["above", "beside_above", "left"], "dense": []}
    kinds |= {"deconv2d": [], "conditional_weights": []}
    _add_scale(ours.scale, "scale", kinds)
    kinds["dense"].append(LAST)
    return {f"{kind}_{i}": name for kind, names in kinds.items() for i, name in enumerate(names)}


def _add_scale(scale: Any, name: str, kinds: dict[str, list[str]]) -> None:
    for i in range(len(scale.there)):
        _add_pair(f"{name}.there.{i}", kinds, skips=False)
    if scale.lower is not None:
        kinds["conv2d"] += [f"{name}.lower.halving.{stream}" for stream in (0, 1)]
        _add_scale(scale.lower.scale, f"{name}.lower.scale", kinds)
        kinds["deconv2d"] += [f"{name}.lower.doubling.{stream}" for stream in (0, 1)]
    for i in range(len(scale.back)):
        _add_pair(f"{name}.back.{i}", kinds, skips=True)


def _add_pair(name: str, kinds: dict[str, list[str]], *, skips: bool) -> None:
    for stream in ("above", "left"):
        block = f"{name}.{stream}"
        kinds["conv2d"] += [f"{block}.first", f"{block}.second"]
        kinds["conditional_weights"].append(f"{block}.label.biases")
        if skips or stream == "left":
            kinds["dense"].append(f"{block}.beside")
