"""The table of operations that are timed: sizes, types, layouts, and the least bytes and FLOPs that they
need.

A new operation is one more function that returns an `OperationCase`, and one more line in `cases`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import ops

TAPS = (1, 3, 3, 1)
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
VARIANTS = [(dtype, layout) for dtype in (torch.float32, torch.bfloat16) for layout in LAYOUTS]
BOTH = (torch.float32, "NCHW"), (torch.float32, "channels-last")


@dataclass(frozen=True)
class Sizes:
    """Shapes of the operands of elementwise operations, of filters and of convolutions."""

    pointwise: tuple[int, int, int, int]
    filtered: tuple[int, int, int, int]
    convolved: tuple[int, int, int, int]
    vectors: tuple[int, int] = (32, 512)
    most_channels: int = 512  # of alias-free layers


@dataclass(frozen=True)
class AliasFreeLayer:
    """A layer of a 1024px alias-free generator: its convolution's channels and side, the side of its result,
    factors, padding of the up-sampled image before and after, and whether it filters down in the plane."""

    name: str
    channels: int
    sides: tuple[int, int]
    rates: tuple[int, int]
    padding: tuple[int, int]
    plane: bool = False


ALIAS_FREE = (
    AliasFreeLayer("T", 512, (150, 148), (2, 2), (9, 8)),
    AliasFreeLayer("T", 203, (278, 276), (2, 2), (9, 8)),
    AliasFreeLayer("T", 323, (150, 276), (4, 2), (-6, -9)),
    AliasFreeLayer("R", 512, (148, 148), (2, 2), (11, 10), plane=True),
)

SIZES = {
    "cpu": Sizes((8, 64, 256, 256), (8, 64, 128, 128), (8, 64, 128, 128)),
    "cuda": Sizes((4, 32, 1024, 1024), (4, 64, 512, 512), (4, 64, 512, 512)),  # the top of a 1024px network
    "quick": Sizes((2, 16, 32, 32), (2, 16, 32, 32), (2, 16, 32, 32), (4, 32), 2),
}


@dataclass(frozen=True)
class OperationCase:
    """One operation at one size.

    inputs: float32; all take gradients. The first is converted to the variant's type and layout for our
    operation, and stays as it is for peers. results: elements of the output per element of the first input.
    flops: those of the forward pass. peer: the peer's operation and
    its settings. kept: how many full-size tensors the derivative must read besides dy (1: the output or the
    input).
    """

    op: str
    inputs: Callable[[], tuple[Tensor, ...]]
    ours: Callable[..., Tensor]
    peer: tuple[str, dict[str, Any]] | None = None
    results: float = 1.0
    kept: int = 1
    flops: float = 0.0
    backward: float = 2.0
    variants: Sequence[tuple[torch.dtype, str]] = field(default_factory=lambda: VARIANTS)
    size: str = ""


def cases(sizes: Sizes, device: str) -> Iterator[OperationCase]:
    """Returns the table."""
    yield bias_act_case(sizes.pointwise, device, None)
    yield bias_act_case(sizes.pointwise, device, 256.0)
    yield affine_act_case(sizes.pointwise, device)
    for kind in ("up", "down", "blur"):
        yield resample_case(sizes.filtered, device, kind)
    yield modulated_case(sizes.convolved, device, 1)
    yield modulated_case(sizes.convolved, device, 2)
    yield blur_act_case(sizes.filtered, device)
    yield pixel_norm_case(sizes.vectors, device)
    yield pixel_norm_case(sizes.filtered, device)
    yield minibatch_stddev_case(sizes.filtered, device)
    for layer in ALIAS_FREE:
        yield filtered_lrelu_case(layer, sizes.most_channels, device)


def bias_act_case(shape: tuple[int, ...], device: str, clamp: float | None) -> OperationCase:
    """Bias and leaky ReLU. Forward reads x and writes y; backward reads dy and y and writes dx."""

    def inputs() -> tuple[Tensor, ...]:
        return torch.randn(shape, device=device), torch.randn(shape[1], device=device)

    return OperationCase(
        "bias_act lrelu" if clamp is None else "bias_act lrelu clamp",
        inputs,
        lambda x, b: ops.bias_act(x, b, act="lrelu", clamp=clamp),
        peer=("bias_act", {"clamp": clamp}),
    )


def affine_act_case(shape: tuple[int, ...], device: str) -> OperationCase:
    """Scale and shift of each image, then ReLU, as in a conditional normalisation."""

    def inputs() -> tuple[Tensor, ...]:
        scale, shift = (torch.randn(shape[:2], device=device) for _ in range(2))
        return torch.randn(shape, device=device), scale, shift

    # Backward needs both x, for the scale, and the sign of the result.
    return OperationCase(
        "affine_act relu", inputs, lambda x, a, b: ops.affine_act(x, a, b, act="relu"), kept=2
    )


def resample_case(shape: tuple[int, ...], device: str, kind: str) -> OperationCase:
    """A [1,3,3,1] filter that upsamples or downsamples by 2 or keeps the size. It is linear, so that backward
    reads only dy."""
    taps = ops.setup_filter(TAPS, device=device)
    functions: Mapping[str, Callable[..., Tensor]] = {
        "up": ops.upsample2d, "down": ops.downsample2d, "blur": ops.filter2d,
    }  # fmt: skip
    function = functions[kind]
    return OperationCase(
        {"up": "upfirdn2d up2", "down": "upfirdn2d down2", "blur": "upfirdn2d blur"}[kind],
        lambda: (torch.randn(shape, device=device),),
        lambda x: function(x, taps),
        peer=("resample", {"kind": kind}),
        results={"up": 4.0, "down": 0.25, "blur": 1.0}[kind],
        kept=0,
    )


def modulated_case(shape: tuple[int, ...], device: str, up: int) -> OperationCase:
    """A modulated 3x3 convolution, with gradients of image, weight and styles."""
    n, channels, height, width = shape
    taps = ops.setup_filter(TAPS, device=device)

    def inputs() -> tuple[Tensor, ...]:
        weight = torch.randn(channels, channels, 3, 3, device=device)
        weight = (weight + weight.flip([2, 3])) / 2  # for some, up-sampling mirrors the weight
        styles = 1 + 0.1 * torch.randn(n, channels, device=device)
        return torch.randn(shape, device=device), weight, styles

    return OperationCase(
        f"modulated_conv2d 3x3 up{up}",
        inputs,
        lambda x, w, s: ops.modulated_conv2d(x, w, s, up=up, padding=1, resample_filter=taps),
        peer=("modulated", {"up": up}),
        results=float(up * up),
        flops=2.0 * n * height * width * channels * channels * 9,
        size=f"{channels}->{channels} {height}px batch {n}",
    )


def blur_act_case(shape: tuple[int, ...], device: str) -> OperationCase:
    """Filter, scale of each image, bias and leaky ReLU, as after an upsampling convolution."""
    taps = ops.setup_filter(TAPS, device=device)

    def inputs() -> tuple[Tensor, ...]:
        scale, shift = torch.rand(shape[:2], device=device) + 0.5, torch.randn(shape[1], device=device)
        return torch.randn(shape, device=device), scale, shift

    return OperationCase(
        "blur_act lrelu",
        inputs,
        lambda x, a, b: ops.blur_act(x, taps, a, b, padding=(2, 1, 2, 1), act="lrelu"),
        kept=2,
    )


def pixel_norm_case(shape: tuple[int, ...], device: str) -> OperationCase:
    """Latents, or the pixels of images, divided by their root mean square."""
    variants = [(torch.float32, "NCHW")] if len(shape) == 2 else BOTH
    return OperationCase(
        "pixel_norm", lambda: (torch.randn(shape, device=device),), ops.pixel_norm,
        peer=("pixel_norm", {}), variants=variants,
    )  # fmt: skip


def minibatch_stddev_case(shape: tuple[int, ...], device: str) -> OperationCase:
    """One map of the batch's deviation; the images are copied into the larger result."""
    group = min(4, shape[0])
    return OperationCase(
        "minibatch_stddev",
        lambda: (torch.randn(shape, device=device),),
        lambda x: ops.minibatch_stddev(x, group),
        peer=("minibatch_stddev", {"group": group}),
        results=1 + 1 / shape[1],
        variants=BOTH,
    )


def filtered_lrelu_case(layer: AliasFreeLayer, most_channels: int, device: str) -> OperationCase:
    """The activation of a layer, one image. A filter has six taps for each step up or down; what it
    multiplies is counted in the cheapest order, without inserted zeros. Two bits a sample are left out."""
    channels, (up, down), (before, after) = min(layer.channels, most_channels), layer.rates, layer.padding
    taps_up, taps_down = 6 * up, 6 * down
    low_pass = {
        n: ops.setup_filter(torch.hann_window(n + 2)[1:-1], device=device) for n in (taps_up, taps_down)
    }
    narrow = low_pass[taps_down]
    filters = low_pass[taps_up], torch.outer(narrow, narrow) if layer.plane else narrow
    side, result = layer.sides
    sampled = side * up + before + after - taps_up + 1
    products = sampled * (side + sampled) * taps_up // up
    products += result * result * taps_down**2 if layer.plane else result * (sampled + result) * taps_down
    settings: dict[str, Any] = {"up": up, "down": down, "padding": [before, after] * 2, "clamp": 256.0}
    return OperationCase(
        f"filtered_lrelu {layer.name}",
        lambda: (torch.randn(1, channels, side, side, device=device), torch.randn(channels, device=device)),
        lambda x, b: ops.filtered_lrelu(x, *filters, b, **settings),
        peer=("filtered_lrelu", {"filters": filters, **settings}),
        results=(result / side) ** 2,
        kept=0,
        flops=2.0 * channels * products,
        backward=1.0,
        variants=[*BOTH, (torch.bfloat16, "channels-last")],
        size=f"{channels} {side}->{result}px up{up} down{down}",
    )
