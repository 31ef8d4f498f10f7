"""Measures which type and layout of a convolution is fast, and how R3GAN's grouped ones are differentiated
twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.convolution import conv2d
from tools.bench.dispatch import Dispatched
from tools.gpu_check.clock import float32_products, median_ms
from tools.gpu_check.step import Conditions, Figure, figure


@dataclass(frozen=True)
class Computation:
    """How a convolution is computed. error: the largest allowed error of its forward pass, relative to
    float64."""

    dtype: torch.dtype
    layout: torch.memory_format
    tf32: bool
    error: float


COMPUTATIONS: Mapping[str, Computation] = {
    "bfloat16 NHWC": Computation(torch.bfloat16, torch.channels_last, False, 1e-2),
    "TF32 NCHW": Computation(torch.float32, torch.contiguous_format, True, 1e-3),
    "TF32 NHWC": Computation(torch.float32, torch.channels_last, True, 1e-3),
    "float32 NCHW": Computation(torch.float32, torch.contiguous_format, False, 1e-5),
}


def convolutions(conditions: Conditions) -> Iterator[Figure]:
    """TFLOP/s of 3x3 convolutions forward and backward. sizes: shapes (images, channels, side), rounds.

    Raises ArithmeticError where a kind is further from float64 than it may be: float32 that is TF32.
    """
    for name, kind in COMPUTATIONS.items():
        yield figure(f"error of {name}", relative_error(name, conditions.device), "", may=kind.error)
    for images, channels, side in conditions.sizes["shapes"]:
        flops = 6 * images * channels**2 * 9 * side**2
        for name, kind in COMPUTATIONS.items():
            float32_products(tf32=kind.tf32)
            run = _both_ways(conditions.device, kind, images, channels, side)
            for benchmark in (False, True):
                torch.backends.cudnn.benchmark = benchmark
                ms = median_ms(run, conditions.device, conditions.sizes["rounds"])
                yield figure(
                    f"[{images}, {channels}, {side}, {side}] {name}{', benchmark' * benchmark}",
                    1e-9 * flops / ms, "TFLOP/s", ms=ms,
                )  # fmt: skip


def relative_error(name: str, device: torch.device) -> float:
    """Returns the error of one convolution of that kind, relative to float64. Raises ArithmeticError if it is
    larger than the kind allows."""
    kind, generator = COMPUTATIONS[name], torch.Generator().manual_seed(0)
    float32_products(tf32=kind.tf32)
    x = torch.randn(2, 64, 32, 32, generator=generator).to(device, kind.dtype, memory_format=kind.layout)
    weight = torch.randn(64, 64, 3, 3, generator=generator).to(device, kind.dtype)
    result = F.conv2d(x, weight, padding=1).double().cpu()
    true = F.conv2d(x.double().cpu(), weight.double().cpu(), padding=1)
    error = float((result - true).norm() / true.norm())
    if not error < kind.error:
        raise ArithmeticError(f"{name}: {error:.1e} from float64, at most {kind.error:.0e} was expected")
    return error


def _both_ways(
    device: torch.device, kind: Computation, images: int, channels: int, side: int
) -> Callable[[], object]:
    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(kind.dtype).contiguous(memory_format=kind.layout)

    x, dy = drawn(images, channels, side, side), drawn(images, channels, side, side)
    weight = drawn(channels, channels, 3, 3)
    rest: Sequence[Any] = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)

    def run() -> None:
        torch.ops.aten.convolution(x, weight, None, *rest)
        torch.ops.aten.convolution_backward(dy, x, weight, None, *rest, [True, True, False])

    return run


def grouped(conditions: Conditions) -> Iterator[Figure]:
    """A penalty on the gradient of an R3GAN block's convolutions (1x1, grouped 3x3, 1x1), with torch's second
    derivatives and with ours. sizes: blocks (images, width, groups, side), rounds."""
    float32_products(tf32=False)
    for images, width, groups, side in conditions.sizes["blocks"]:
        results = {}
        for name, convolve in (("F.conv2d", F.conv2d), ("ops.convolution", conv2d)):
            torch.manual_seed(0)
            run = _penalty(convolve, conditions.device, images, width, groups, side)
            with Dispatched() as counted:
                results[name] = run()
            ms = median_ms(run, conditions.device, conditions.sizes["rounds"])
            what = f"{name} [{images}, {width}, {side}, {side}] in {groups} groups"
            yield figure(what, ms, "ms", convolutions=counted.convolutions)
        torch.testing.assert_close(*results.values(), rtol=1e-3, atol=1e-4)


def _penalty(
    convolve: Callable[..., Tensor], device: torch.device, images: int, width: int, groups: int, side: int
) -> Callable[[], Tensor]:
    def drawn(*shape: int) -> Tensor:
        leaf: Tensor = torch.randn(shape, device=device) / (shape[1] * shape[2]) ** 0.5
        return leaf.requires_grad_()

    wide = 2 * width
    weights = [drawn(wide, width, 1, 1), drawn(wide, wide // groups, 3, 3), drawn(width, wide, 1, 1)]
    x = torch.randn(images, width, side, side, device=device).requires_grad_()

    def run() -> Tensor:
        y = F.leaky_relu(convolve(x, weights[0]), 0.2)
        y = F.leaky_relu(convolve(y, weights[1], padding=1, groups=groups), 0.2)
        logits = convolve(y, weights[2]).square().sum()
        (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
        second: tuple[Tensor, ...] = torch.autograd.grad(gradient.square().sum(), weights)
        return second[1]

    return run
