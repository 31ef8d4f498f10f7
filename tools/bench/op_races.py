"""Operations timed by turns against the plain ones and other projects': a row for each variant and pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import ops
from tools.bench.allocator import Allocators
from tools.bench.op_rows import LAYOUTS, OperationCase
from tools.bench.timing import Contestant, Floor, Race, clock_of, race
from tools.research.peers import Forms, Peer


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
    return 2 * forward + case.kept * min(given, made), (1 + case.backward) * case.flops


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
