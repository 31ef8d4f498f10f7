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
from tools.bench.allocator import Allocators
from tools.bench.timing import Contestant, Floor, Race, clock_of, race
from tools.research.peers import Forms, Peer

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


SIZES = {
    "cpu": Sizes((8, 64, 256, 256), (8, 64, 128, 128), (8, 64, 128, 128)),
    "cuda": Sizes((4, 32, 1024, 1024), (4, 64, 512, 512), (4, 64, 512, 512)),  # the top of a 1024px network
    "quick": Sizes((2, 16, 32, 32), (2, 16, 32, 32), (2, 16, 32, 32), (4, 32)),
}


@dataclass(frozen=True)
class OperationCase:
    """One operation at one size.

    inputs: float32; all take gradients. The first is converted to the variant's type and layout for our
    operation, and stays as it is for peers. results: elements of the output per element of the first input.
    flops: those of the forward pass; the backward pass takes twice as many. peer: the peer's operation and
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


@dataclass(frozen=True)
class BenchSettings:
    """What all rows of a run have in common.

    native: the backend that is used for our operations. seconds: how long new rounds may begin.
    """

    device: str
    rounds: int
    floor: Floor
    peers: Sequence[Peer]
    native: ops.Backend
    memory: Allocators
    seconds: Callable[[], float] = lambda: float("inf")

    def ours(self, call: Callable[[], object]) -> Contestant:
        """`call` with compiled operations, where there are any."""
        return Contestant(call, lambda: switch(self.native, self.memory.ours))

    def reference(self, call: Callable[[], object]) -> Contestant:
        """`call` with plain ones."""
        return Contestant(call, lambda: switch("reference", self.memory.others))

    def peer(self, call: Callable[[], object]) -> Contestant:
        """`call` of another project."""
        return Contestant(call, self.memory.others)


def switch(backend: ops.Backend, memory: Callable[[], object]) -> None:
    """Which operations run, and where large tensors are made, from now on."""
    ops.use(backend)
    memory()


def rows_of(case: OperationCase, setting: BenchSettings) -> Iterator[dict[str, Any]]:
    """Yields a row for each variant, pass and peer."""
    peers: Sequence[Peer | None] = [p for p in setting.peers if case.peer and p.forms(*case.peer)] or [None]
    for dtype, layout in case.variants:
        if dtype not in setting.floor.rates:  # this machine has no instructions for it
            continue
        for mode in ("fwd", "fwd+bwd"):
            for peer in peers:
                yield row_of(case, setting, dtype, layout, mode, peer)


def row_of(
    case: OperationCase, setting: BenchSettings, dtype: torch.dtype, layout: str, mode: str, peer: Peer | None
) -> dict[str, Any]:
    """Returns the row of one comparison."""
    torch.manual_seed(0)
    inputs = case.inputs()
    mine = inputs if inputs[0].ndim < 4 else (inputs[0].to(dtype, memory_format=LAYOUTS[layout]), *inputs[1:])
    run = passes(case.ours, mine, mode)
    contestants = {"ours": setting.ours(run), "reference": setting.reference(run)}
    difference: dict[str, float] = {}
    form = ""
    if peer is not None and case.peer is not None:
        # The same values in float32, so that rounding of the image itself is no difference.
        theirs = (mine[0].to(torch.float32, memory_format=torch.contiguous_format), *inputs[1:])
        forms = {name: passes(call, theirs, mode) for name, call in peer.forms(*case.peer).items()}
        form = fastest(forms, setting.device)
        contestants["peer"] = setting.peer(forms[form])
        difference = disagreement(contestants, run, forms[form])
    result = race(contestants, setting.rounds, clock_of(setting.device), setting.seconds())
    return {
        "op": case.op,
        "size": case.size or "x".join(str(n) for n in inputs[0].shape),
        "mode": mode,
        **figures(result, setting.floor.ms(*demand(case, mine[0], mode), dtype)),
        "peer": peer.name if peer else None,
        "peer_form": form,
        "dtype": str(dtype).removeprefix("torch."),
        "layout": layout if inputs[0].ndim == 4 else "rows",
        **difference,
    }


def figures(result: Race, floor_ms: float | None, scale: float = 1.0) -> dict[str, Any]:
    """Returns the result of a race as keys of a row; ratios say how many times faster ours is."""
    ms, ratios = scale * result.ms("ours"), {"reference": None, "peer": None}
    others = {name: scale * result.ms(name) for name in ratios if name in result.seconds}
    spread = {name: [scale * t for t in result.spread_ms(name)] for name in result.seconds}
    return {
        "ms": ms,
        "vs_reference": others["reference"] / ms if "reference" in others else None,
        "vs_peer": others["peer"] / ms if "peer" in others else None,
        "floor_ms": floor_ms,
        "reference_ms": others.get("reference"),
        "peer_ms": others.get("peer"),
        "spread_ms": spread,
        "cpu_ms": scale * result.core_ms("ours"),
        **{f"cpu_vs_{name}": result.core_ms(name) / result.core_ms("ours") for name in others},
        "others_cores": round(result.others, 2),
    }


def demand(case: OperationCase, x: Tensor, mode: str) -> tuple[float, float]:
    """Returns the bytes that must be moved and the FLOPs that must be computed.

    Forward reads x and writes y; backward reads dy and what was kept, and writes dx.
    """
    given, made = x.numel() * x.element_size(), case.results * x.numel() * x.element_size()
    forward = given + made
    if mode == "fwd":
        return forward, case.flops
    return 2 * forward + case.kept * min(given, made), 3 * case.flops


def passes(call: Callable[..., Tensor], inputs: tuple[Tensor, ...], mode: str) -> Callable[[], Any]:
    """Returns a function that runs the forward pass, or the forward pass and the gradients of all inputs, and
    returns the results."""
    if mode == "fwd":
        return torch.no_grad()(lambda: (call(*inputs),))
    leaves = [value.detach().requires_grad_() for value in inputs]
    with torch.no_grad():
        y = call(*inputs)
    dy = torch.randn(y.shape, generator=torch.Generator(y.device).manual_seed(0), device=y.device)
    dy = torch.empty_like(y).copy_(dy)

    def both() -> tuple[Tensor, ...]:
        result = call(*leaves)
        return (result, *torch.autograd.grad(result, leaves, dy))

    return both


def fastest(forms: Forms | Mapping[str, Callable[[], Any]], device: str) -> str:
    """Returns the name of the form that computes fastest; each is called three times."""
    if len(forms) == 1:
        return next(iter(forms))
    result = race({name: Contestant(call) for name, call in forms.items()}, 2, clock_of(device))
    return min(forms, key=lambda name: min(result.seconds[name]))


def disagreement(
    contestants: Mapping[str, Contestant], ours: Callable[[], Any], theirs: Callable[[], Any]
) -> dict[str, float]:
    """Returns the largest difference of the results and their largest magnitude. For the gradients of the
    image, it is the norm of the difference over the norm, as rounding moves single values over an
    activation's kink."""
    contestants["ours"].prepare()
    (a, *grads), (b, *their_grads) = ours(), theirs()
    apart = {"difference": float((a - b).detach().abs().max()), "magnitude": float(b.detach().abs().max())}
    if grads:
        apart["gradient_difference"] = float((grads[0] - their_grads[0]).norm() / their_grads[0].norm())
    return apart
