"""Layers whose weight is divided by its largest singular value (Miyato et al. 2018, eq. 8).

The singular value is estimated by one step of power iteration each time a layer is used in training, whether
its weights are frozen or not. The vector `u` of the iteration is saved with the weights; it depends on them
alone, so it is equal on all ranks. In eval mode it does not change.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from ops import Activation

_SETTLED = 100  # steps of the power iteration


class Spectral(nn.Module):
    """A weight [O, ...] and the left singular vector u [O] of the weight as a matrix [O, the rest].

    eps: the least norm that is divided by.
    """

    moves = ("u",)
    """The buffers that `forward` changes (see `Recomputable`)."""
    u: Tensor

    def __init__(self, *shape: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.randn(shape) / math.sqrt(math.prod(shape[1:])))
        self.register_buffer("u", F.normalize(torch.randn(shape[0]), dim=0))

    def normalised(self) -> Tensor:
        """Returns weight / sigma in float32; it is differentiable any number of times."""
        if not self.training:
            # A copy, because the backward pass needs u as it is now, and training may change it before.
            weight, _, _ = ops.spectral_weight(self.weight, self.u.clone(), steps=0, eps=self.eps)
            return weight
        weight, _, u = ops.spectral_weight(self.weight, self.u, steps=1, eps=self.eps)
        with torch.no_grad():
            self.u.copy_(u)
        return weight

    @torch.no_grad()
    def settle(self) -> None:
        """Iterates until u is that of the weight as it is."""
        _, _, u = ops.spectral_weight(self.weight, self.u, steps=_SETTLED, eps=self.eps)
        self.u.copy_(u)


class SpectralConv2d(Spectral):
    """act(convolution + b) at the same resolution: [N, Cin, H, W] -> [N, Cout, H, W], in the type of x."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, eps: float = 1e-6
    ) -> None:
        super().__init__(outputs, inputs, kernel, kernel, eps=eps)
        self.padding = kernel // 2
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor, act: Activation = "linear") -> Tensor:
        weight = self.normalised().to(x.dtype)
        if self.bias is None and act == "linear":
            return ops.conv2d_resample(x, weight, padding=self.padding)
        return ops.conv2d_act(x, weight, shift=self.bias, padding=self.padding, act=act, gain=1.0)


class SpectralLinear(Spectral):
    """x W^T + b on the last dimension: [..., inputs] -> [..., outputs]."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, eps: float = 1e-6) -> None:
        super().__init__(outputs, inputs, eps=eps)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalised(), self.bias)


class SpectralEmbedding(Spectral):
    """Looks up rows of the normalised weight: numbers [...] -> [..., width]."""

    def __init__(self, count: int, width: int, *, eps: float = 1e-6) -> None:
        super().__init__(count, width, eps=eps)

    def forward(self, numbers: Tensor) -> Tensor:
        return F.embedding(numbers, self.normalised())
