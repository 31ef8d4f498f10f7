"""Linear maps of images that have derivatives of any order.

torch's own operations lack a second derivative (grid_sample) or compute it channel by channel (grouped
convolutions). The derivative of a linear map is its adjoint, whose derivative is the map again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def linear_map(x: Tensor, forth: Map, back: Map) -> Tensor:
    """Returns forth(x). `back` is the adjoint of `forth`, <forth(x), y> = <x, back(y)>; both are constant."""
    y: Tensor = _Linear.apply(x, forth, back)
    return y


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: Map, back: Map) -> Tensor:
        # As attributes, not as saved tensors: autograd does not notice if a tensor that the maps close over
        # is changed in place before the backward pass. Grids, taps and filters are made anew for each batch
        # or never change.
        ctx.maps = back, forth
        return forth(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return linear_map(gradient, *ctx.maps), None, None
