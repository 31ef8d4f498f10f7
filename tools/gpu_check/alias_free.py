"""Times the activation of alias-free layers: in one pass, as three operations, and by a peer's own kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

import ops
from ops.alias_free import filtered_lrelu_reference
from tools.gpu_check.clock import median_ms
from tools.gpu_check.step import Conditions, Figure, figure
from tools.gpu_check.training import release
from tools.research.peers import load_peer

Call = Callable[[Tensor, Tensor], Tensor]
LAYERS = {
    "T 148": (512, 150, 2, (9, 8), False),
    "T 276 up": (323, 150, 4, (-6, -9), False),
    "T 1044": (51, 1046, 2, (9, 8), False),
    "T 1024 crop": (32, 1046, 2, (-11, -12), False),
    "R 148": (1024, 148, 2, (11, 10), True),
    "R 276 up": (645, 148, 4, (-2, -5), True),
    "R 1044": (101, 1044, 2, (11, 10), True),
}
"""Layers of a 1024px generator (Karras et al. 2021, appendix D): channels, side, up, padding before and
after, whether the filter down is radial. All sample down by two, with six taps for each step up or down."""


def activations(conditions: Conditions) -> Iterator[Figure]:
    """Milliseconds of each layer's activation, forward and with its gradient, and the bytes a second that its
    image and result are. sizes: layers, images, types, rounds, most_channels, most_side."""
    sizes, device = conditions.sizes, conditions.device
    peers = [load_peer(argument, device.type) for argument in conditions.peers]
    for name in sizes["layers"]:
        channels, side, up, padding, radial = LAYERS[name]
        shape = (sizes["images"], min(channels, sizes["most_channels"]), *[min(side, sizes["most_side"])] * 2)
        filters = low_passes(up, radial, device)
        settings: dict[str, Any] = {"up": up, "down": 2, "padding": list(padding) * 2, "clamp": 256.0}
        forms = forms_of(filters, settings)
        for peer in peers:
            theirs = peer.forms("filtered_lrelu", {"filters": filters, **settings})
            forms |= {f"{peer.name} {form}".strip(): call for form, call in theirs.items()}
        for kind in sizes["types"]:
            x = torch.randn(shape, device=device).to(getattr(torch, kind))
            bias = torch.randn(shape[1], device=device)
            for form, call in forms.items():
                yield from _timed(f"{name} {kind} {form}", call, x, bias, sizes["rounds"])
            release(device)


def low_passes(up: int, radial: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns filters of the layers' sizes; what their taps are takes no time."""
    wide, narrow = (torch.hann_window(n + 2, device=device)[1:-1] for n in (6 * up, 12))
    wide, narrow = wide / wide.sum(), narrow / narrow.sum()
    return wide, torch.outer(narrow, narrow) if radial else narrow


def forms_of(filters: tuple[Tensor, Tensor], settings: Mapping[str, Any]) -> dict[str, Call]:
    """Returns the activation in one pass, as three compiled operations, and in plain PyTorch."""
    up, down, padding, clamp = (settings[name] for name in ("up", "down", "padding", "clamp"))

    def apart(x: Tensor, bias: Tensor) -> Tensor:
        x = ops.upfirdn2d(ops.bias_act(x, bias), filters[0], up=up, padding=padding, gain=up * up)
        return ops.upfirdn2d(
            ops.bias_act(x, act="lrelu", gain=math.sqrt(2), clamp=clamp), filters[1], down=down
        )

    return {
        "in one pass": lambda x, bias: ops.filtered_lrelu(x, *filters, bias, **settings),
        "apart": apart,
        "plain": lambda x, bias: filtered_lrelu_reference(x, *filters, bias, **settings),
    }


def _timed(what: str, call: Call, x: Tensor, bias: Tensor, rounds: int) -> Iterator[Figure]:
    with torch.no_grad():
        y = call(x, bias.to(x.dtype))
        ms = median_ms(lambda: call(x, bias.to(x.dtype)), x.device, rounds)
    yield figure(what, ms, "ms")
    yield figure(f"{what}: image and result", 1e-6 * (x.nbytes + y.nbytes) / ms, "GB/s")
    leaves, dy = [x.detach().requires_grad_(), bias.to(x.dtype).requires_grad_()], torch.ones_like(y)

    def both() -> object:
        return torch.autograd.grad(call(*leaves), leaves, dy)

    with torch.enable_grad():
        yield figure(f"{what} with gradients", median_ms(both, x.device, rounds), "ms")
