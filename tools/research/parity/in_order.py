"""Networks whose layers come in the same order in ours and in theirs: our weights are put into theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.layers import GroupBatchNorm, InstanceNorm, Spectral
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.recorded import RecordedNetwork, summary

Layers = Sequence[tuple[Any, Any]]
"""Ours and theirs."""
Call = Callable[[Tensor], Tensor]

_IDLE_BIAS = 0.3  # of theirs where ours has none, because a normalisation follows


def in_order(ours: nn.Module, theirs: nn.Module) -> Layers:
    """Returns the layers of both that have weights: convolutions, then normalisations, each in order. Raises
    ValueError if there are not as many."""
    return [
        pair
        for find in (_convolutions, _normalisations)
        for pair in zip(find(ours), find(theirs), strict=True)
    ]


def _convolutions(network: nn.Module) -> list[nn.Module]:
    return [
        m for m in network.modules() if isinstance(w := getattr(m, "weight", None), Tensor) and w.ndim > 1
    ]


def _normalisations(network: nn.Module) -> list[nn.Module]:
    names = ("gain", "weight")
    return [
        m
        for m in network.modules()
        if any(isinstance(w := getattr(m, name, None), Tensor) and w.ndim == 1 for name in names)
    ]


@torch.no_grad()
def put(layers: Layers) -> None:
    """Gives theirs the weights of ours."""
    for own, other in layers:
        if isinstance(own, GroupBatchNorm | InstanceNorm):
            other.weight.copy_(own.gain)
            other.bias.copy_(own.bias)
        elif isinstance(own, Spectral):
            other.weight_orig.copy_(own.weight)
            other.weight_u.copy_(own.u)
            other.weight_v.copy_(F.normalize(own.weight.flatten(1).t() @ own.u, dim=0))
        else:
            other.weight.copy_(own.weight)
            if other.bias is not None:
                other.bias.copy_(_IDLE_BIAS if own.bias is None else own.bias)
        if isinstance(own, GroupBatchNorm):
            other.running_mean.copy_(own.running_mean)
            other.running_var.copy_(own.running_var)


@torch.no_grad()
def stir(ours: nn.Module) -> None:
    """Moves gains, biases and running statistics off a start at 0 or 1, which would hide them."""
    for name, tensor in [*ours.named_parameters(), *ours.named_buffers()]:
        if tensor.ndim == 1 and not name.endswith(".u"):
            tensor.add_(torch.rand_like(tensor) * 0.5)


def settle(ours: nn.Module) -> None:
    """Lets every power iteration of ours come to its end."""
    for layer in ours.modules():
        if isinstance(layer, Spectral):
            layer.settle()


def rows(name: str, what: str, calls: tuple[Call, Call], layers: Layers, x: Tensor) -> Iterator[ParityRow]:
    """The difference of the outputs for x, and of the gradients of their product with random numbers, by all
    weights together."""
    made, wanted = (call(x) for call in calls)
    yield ParityRow(name, what, apart(made, wanted), FORWARD)
    direction = torch.randn_like(wanted)
    own = _gradients((made * direction).sum(), [_weight(ours) for ours, _ in layers])
    other = _gradients((wanted * direction).sum(), [_weight(theirs) for _, theirs in layers])
    yield ParityRow(name, f"{what}, gradients", whole(zip(own, other, strict=True)), GRADIENT)


def _weight(layer: Any) -> Tensor:
    names = ("weight_orig", "gain", "weight")
    weight: Tensor = next(w for name in names if (w := getattr(layer, name, None)) is not None)
    return weight


def _gradients(value: Tensor, weights: Iterable[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, list(weights))


@torch.no_grad()
def recorded(case: RecordedNetwork, theirs: nn.Module, pair: Callable[[Any, Any], Layers]) -> RecordedNetwork:
    """The case with what theirs gives for the weights of ours."""
    ours: Any = case.ours()
    put(pair(ours, theirs))
    output = theirs.train(case.training)(*case.tensors())
    return replace(case, given=summary(output if case.network == "generator" else output.flatten(1).mean(1)))
