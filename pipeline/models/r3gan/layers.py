"""R3GAN's layers: convolutions with a given initial scale, residual blocks, resampling (section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from ops.convolution import conv2d
from pipeline.models.layers import Recomputable

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))
"""The gain of initial weights that compensates for the variance lost in a leaky ReLU (He et al. 2015, eq.
15). The activation itself is applied with gain 1."""


def spread(weight: Tensor, gain: float = 1.0) -> nn.Parameter:
    """Returns `weight` [outputs, inputs, ...], filled from N(0, gain^2 / fan-in), as a parameter (He et al.
    2015)."""
    return nn.Parameter(weight.normal_(0, gain / math.sqrt(weight[0].numel())))


class Conv(nn.Module):
    """A convolution without bias that keeps the resolution and computes in the type of its input.

    gain: the scale of the initial weights; with 0 they start at zero.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, groups: int = 1, gain: float = 1.0):
        super().__init__()
        self.groups, self.padding = groups, kernel // 2
        self.weight = spread(torch.empty(outputs, inputs // groups, kernel, kernel), gain)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight.to(x.dtype), padding=self.padding, groups=self.groups)


class Block(Recomputable):
    """x + an inverted bottleneck: a 1x1 convolution to `expanded` channels, a grouped 3x3, and a 1x1 back.

    depth: the number of residual blocks of the network. Initial weights are scaled by depth^(-1/4), and those
    of the last layer are zero, so that the network starts as its resampling alone (Fixup: Zhang et al. 2019,
    with one bias before each activation and no scales). There is no normalisation.
    """

    def __init__(self, width: int, expanded: int, groups: int, depth: int) -> None:
        super().__init__()
        layers = 3
        gain = GAIN * depth ** (-1 / (2 * layers - 2))
        self.widen = Conv(width, expanded, gain=gain)
        self.bias_widen = nn.Parameter(torch.zeros(expanded))
        self.mix = Conv(expanded, expanded, kernel=3, groups=groups, gain=gain)
        self.bias_mix = nn.Parameter(torch.zeros(expanded))
        self.narrow = Conv(expanded, width, gain=0.0)

    def compute(self, x: Tensor) -> Tensor:
        y = ops.bias_act(self.widen(x), self.bias_widen, act="lrelu", alpha=SLOPE, gain=1.0)
        y = ops.bias_act(self.mix(y), self.bias_mix, act="lrelu", alpha=SLOPE, gain=1.0)
        narrowed: Tensor = self.narrow(y)
        return x + narrowed


class Resample(nn.Module):
    """Doubles or halves the resolution with a filter. If the width changes, a 1x1 convolution at the lower of
    the two resolutions does that."""

    taps: Tensor

    def __init__(self, inputs: int, outputs: int, taps: Sequence[float], *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = Conv(inputs, outputs) if inputs != outputs else None
        self.register_buffer("taps", ops.setup_filter(taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.up:
            x = ops.downsample2d(x, self.taps)
        x = x if self.conv is None else self.conv(x)
        return ops.upsample2d(x, self.taps) if self.up else x


class Basis(nn.Module):
    """Maps latents [N, inputs] to [N, width, *size]: each channel is a learned image multiplied by a
    linear function of the latents."""

    def __init__(self, inputs: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.images = nn.Parameter(torch.randn(width, *size))
        self.weight = spread(torch.empty(width, inputs))

    def forward(self, z: Tensor) -> Tensor:
        return self.images * F.linear(z, self.weight)[:, :, None, None]


class Projections(nn.Module):
    """Maps [N, width, *size] to [N, outputs]: the inner product of each channel with a learned image,
    followed by a linear layer."""

    def __init__(self, width: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.images = spread(torch.empty(width, *size))
        self.weight = spread(torch.empty(outputs, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear((x * self.images).sum(dim=[2, 3]), self.weight)
