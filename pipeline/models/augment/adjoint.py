"""Linear maps of images with derivatives of any order.

torch's own have none of second order (grid_sample), or one that runs channel by channel (grouped
convolutions). A linear map's derivative is its adjoint, and the adjoint's is the map again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def linear_map(x: Tensor, forth: Map, back: Map) -> Tensor:
    """forth(x); `back` is the adjoint of `forth`: <forth(x), y> = <x, back(y)>. Both are constant."""
    y: Tensor = _Linear.apply(x, forth, back)
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Map, back: Map) -> Tensor:
        # Attributes, not saved tensors: autograd would not notice if something that the maps close over were
        # changed in place before the backward pass. Grids, taps and filters are made anew for each batch, or
        # never change.
        ctx.maps = back, forth
        return forth(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return linear_map(gradient, *ctx.maps), None, None
