"""ProGAN beside pytorch_GAN_zoo's at 1024 pixels.

Theirs follows table 2 of the paper, where the discriminator averages pixels after the activation
(`fused_scale: false` here). Weights are ours, put into theirs with the constants in which the two differ:
theirs scales all layers by sqrt(2 / inputs), the bias too, where ours has other gains in the first and the
last layers; each unit of its first layer has a bias of its own; and its minibatch deviation divides by one
image less than there are. That changes what its epsilon amounts to, and the deviation's second derivative
lives on that: gradients of the penalty are compared without the deviation.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import ProGANConfig
from pipeline.contracts import ImageSpec, Net, Networks
from pipeline.models.registry import build_family
from tools.research.modules import isolated
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import Rule
from tools.research.parity.recorded import RecordedNetwork, summary

PEER = "pytorch_GAN_zoo"
LANDMARK = "models/networks/progressive_conv_net.py"
IMAGES = 2
FADES = (1.0, 0.3)

Judge = Callable[[Tensor], Tensor]


def compare(checkout: Path) -> list[ParityRow]:
    """Forward passes of both networks, grown and in the middle of a fade, and the gradients of the critic's
    penalties."""
    return compare_at(checkout, 1024, ProGANConfig())


def compare_at(checkout: Path, resolution: int, config: ProGANConfig) -> list[ParityRow]:
    """The same at another size. config: fmap_base of twice fmap_max at least, as theirs has it."""
    with isolated(checkout):
        module = importlib.import_module("models.networks.progressive_conv_net")
        return [
            *_generator_rows(_networks(config, resolution, group=1).generator, module),
            *_logit_rows(_networks(config, resolution, group=IMAGES).discriminator, module, resolution),
            *_gradient_rows(_networks(config, resolution, group=1).discriminator, module, resolution),
        ]


def _networks(config: ProGANConfig, resolution: int, group: int) -> Networks:
    torch.manual_seed(1)
    config = config.model_copy(update={"fused_scale": False, "minibatch_stddev_group": group})
    networks = build_family(config, ImageSpec(resolution, resolution, 3), batch_size=IMAGES).networks()
    for layer in (*networks.generator.modules(), *networks.discriminator.modules()):
        if isinstance(bias := getattr(layer, "bias", None), nn.Parameter):
            nn.init.normal_(bias)  # at 0 a wrong one would not show
    return networks


@dataclass(frozen=True)
class Pair:
    """A layer of ours and theirs. units: biases of theirs to one of ours. last: factor on the weights
    of the last input channel."""

    own: Any
    other: Any
    units: int = 1
    last: float = 1.0

    def put(self) -> None:
        """Makes theirs the same function."""
        with torch.no_grad():
            self.other.module.weight.copy_(self.own.weight * self._scale())
            self.other.module.bias.copy_(self.own.bias.repeat_interleave(self.units) / self.other.weight)

    def parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Ours and theirs."""
        return [self.own.weight, self.own.bias], [self.other.module.weight, self.other.module.bias]

    def as_ours(self, weight: Tensor, bias: Tensor) -> list[Tensor]:
        """The gradients with respect to ours that follow from those with respect to theirs."""
        return [weight * self._scale(), bias.view(-1, self.units).sum(dim=1) / self.other.weight]

    def _scale(self) -> Tensor:
        scale = torch.full_like(self.own.weight, self.own.weight_gain / self.other.weight)
        scale[:, -1] *= self.last
        return scale


def _generator_rows(ours: Any, module: Any) -> Iterator[ParityRow]:
    theirs = _their_generator(ours, module)
    z = torch.randn(IMAGES, ours.z_dim)
    for fade in FADES:
        theirs.setNewAlpha(1 - fade)
        with torch.no_grad():
            difference = apart(ours(z, fade=fade, exact=True), theirs(z))
        yield ParityRow(f"ProGAN generator {ours.resolution}px", f"images, fade {fade}", difference, FORWARD)


def _logit_rows(ours: Any, module: Any, resolution: int) -> Iterator[ParityRow]:
    theirs, _ = _their_discriminator(ours, module)
    reals = torch.randn(IMAGES, 3, resolution, resolution)
    for fade in FADES:
        theirs.setNewAlpha(1 - fade)
        with torch.no_grad():
            difference = apart(_judge(ours, fade)(reals), theirs(reals)[:, 0])
        yield ParityRow(f"ProGAN discriminator {resolution}px", f"logits, fade {fade}", difference, FORWARD)


def _gradient_rows(ours: Any, module: Any, resolution: int) -> Iterator[ParityRow]:
    theirs, pairs = _their_discriminator(ours, module)
    for fade in FADES:
        theirs.setNewAlpha(1 - fade)
        reals, between = torch.randn(2, IMAGES, 3, resolution, resolution)
        judges = _judge(ours, fade), lambda x: theirs(x)[:, 0]
        difference = _gradients_apart(judges, reals, between, pairs)
        what = f"gradients of penalty and drift, fade {fade}"
        yield ParityRow(f"ProGAN discriminator {resolution}px", what, difference, GRADIENT)


def _gradients_apart(
    judges: tuple[Judge, Judge], reals: Tensor, between: Tensor, pairs: Sequence[Pair]
) -> float:
    own, other = ([p for pair in pairs for p in pair.parameters()[side]] for side in (0, 1))
    gradients = _gradients(judges[0], reals, between, own)
    wanted = _gradients(judges[1], reals, between, other)
    both = zip(pairs, wanted[::2], wanted[1::2], strict=True)
    mapped = [gradient for pair, weight, bias in both for gradient in pair.as_ours(weight, bias)]
    return whole(zip(gradients, mapped, strict=True))


def _judge(ours: Any, fade: float) -> Judge:
    def logits(images: Tensor) -> Tensor:
        judged: Tensor = ours(images, fade=fade, exact=True).logits
        return judged

    return logits


def _their_generator(ours: Any, module: Any) -> Any:
    widths = [ours.first.conv.weight.shape[0], *(block.conv1.weight.shape[0] for block in ours.blocks)]
    theirs = module.GNet(ours.z_dim, widths[0])
    for width in widths[1:]:
        theirs.addScale(width)
    pairs = [
        Pair(ours.first.dense, theirs.formatLayer, units=16),
        Pair(ours.first.conv, theirs.groupScale0[0]),
    ]
    for block, scale in zip(ours.blocks, theirs.scaleLayers, strict=True):
        pairs += [Pair(block.conv0, scale[0]), Pair(block.conv1, scale[1])]
    pairs += [Pair(*layers) for layers in zip(ours.to_image, theirs.toRGBLayers, strict=True)]
    for pair in pairs:
        pair.put()
    return theirs


def _their_discriminator(ours: Any, module: Any) -> tuple[Any, list[Pair]]:
    widths = [ours.head.conv.weight.shape[0], *(block.conv0.weight.shape[0] for block in ours.blocks)]
    theirs = module.DNet(widths[0], miniBatchNormalization=ours.head.group > 1)
    for width in widths[1:]:
        theirs.addScale(width)
    unbiased = math.sqrt((IMAGES - 1) / IMAGES) if ours.head.group > 1 else 1.0
    pairs = [
        Pair(ours.head.conv, theirs.groupScaleZero[0], last=unbiased),
        Pair(ours.head.dense, theirs.groupScaleZero[1]),
        Pair(ours.head.out, theirs.decisionLayer),
    ]
    for block, scale in zip(ours.blocks, theirs.scaleLayers, strict=True):
        pairs += [Pair(block.conv0, scale[0]), Pair(block.conv1, scale[1])]
    seen = [layer.conv for layer in ours.from_image]
    pairs += [Pair(*layers) for layers in zip(seen, theirs.fromRGBLayers, strict=True)]
    for pair in pairs:
        pair.put()
    return theirs, pairs


def _gradients(judge: Judge, reals: Tensor, between: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Returns the gradients of 10 (|grad D(between)| - 1)^2 + 0.001 D(reals)^2 (Karras et al. 2018, appendix
    A.1); zeros where there is none."""
    images = between.clone().requires_grad_()
    (slope,) = torch.autograd.grad(judge(images).sum(), images, create_graph=True)
    norms = slope.square().sum(dim=[1, 2, 3]).sqrt()
    loss = (10 * (norms - 1).square() + 0.001 * judge(reals).square()).mean()
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]


RULES: tuple[Rule, ...] = ((r"bias$", 0.3, 0.0),)
_TINY = {"fmap_base": 64, "fmap_max": 32}
_RECORDED: tuple[tuple[str, dict[str, Any], int, Net, float, list[int]], ...] = (
    ("tiny generator, progan", _TINY, 16, "generator", 1.0, [3, 32]),
    ("tiny generator in a fade, progan", _TINY, 16, "generator", 0.3, [3, 32]),
    ("tiny discriminator in a fade, progan", _TINY, 16, "discriminator", 0.3, [3, 3, 16, 16]),
    ("1024px generator, progan", {}, 1024, "generator", 1.0, [1, 512]),
)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with isolated(checkout):
        module = importlib.import_module("models.networks.progressive_conv_net")
        return [_recorded(module, *row) for row in _RECORDED]


@torch.no_grad()
def _recorded(
    module: Any, name: str, widths: dict[str, Any], side: int, net: Net, fade: float, shape: list[int]
) -> RecordedNetwork:
    changes = {"name": ProGANConfig().name, "fused_scale": False, "minibatch_stddev_group": 1, **widths}
    if net == "generator":
        changes["z_dim"] = shape[1]
    spec = {"height": side, "width": side, "channels": 3, "classes": 0}
    case = RecordedNetwork(name, changes, spec, net, RULES, [shape], call={"fade": fade})
    ours: Any = case.ours()
    theirs = _their_generator(ours, module) if net == "generator" else _their_discriminator(ours, module)[0]
    theirs.setNewAlpha(1 - fade)
    output = theirs(*case.tensors())
    return replace(case, given=summary(output if net == "generator" else output[:, 0]))
