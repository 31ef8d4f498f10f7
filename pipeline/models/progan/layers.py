"""Layers with an equalised learning rate and He et al.'s gain in the weights (Karras et al. 2018, section
4.1).

`models.layers` scales the output of the activation instead, as StyleGAN2 does. That can represent the same
functions, but its biases enter sqrt(2) times as strongly and so learn at another speed.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from ops.convolution import conv2d, conv_transpose2d
from pipeline.contracts import Scalar
from pipeline.models.layers import Compilable, Recomputable

HE_GAIN = math.sqrt(2.0)


class HeConv2d(nn.Module):
    """A convolution with bias and leaky ReLU: [N, Cin, H, W] -> [N, Cout, H', W'], in the type of x.

    resample: "up" repeats each pixel 2x2 times before the convolution; "down" averages 2x2 pixels between
    convolution and bias. Either is computed as one convolution with a wider kernel and stride 2.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, resample: Literal["up", "down"] | None = None
    ) -> None:
        super().__init__()
        self.resample = resample
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_gain = HE_GAIN / math.sqrt(inputs * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        y = self._convolved(x, self.weight * self.weight_gain)
        return ops.bias_act(y, self.bias, act="lrelu", gain=1.0)

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.resample == "up":
            # Taps of the kernel that meet copies of the same pixel are summed.
            kernel = widened(weight).flip([2, 3]).transpose(0, 1)
            return conv_transpose2d(x, kernel.to(x.dtype), stride=2, padding=self.padding)
        if self.resample == "down":
            return conv2d(x, widened(weight / 4).to(x.dtype), stride=2, padding=self.padding)
        return conv2d(x, weight.to(x.dtype), padding=self.padding)


def widened(weight: Tensor) -> Tensor:
    """Returns a kernel [O, I, k, k] convolved with a 2x2 box of ones: [O, I, k + 1, k + 1]."""
    padded = F.pad(weight, [1, 1, 1, 1])
    rows = padded[:, :, 1:] + padded[:, :, :-1]
    return rows[..., 1:] + rows[..., :-1]


class HeLinear(nn.Module):
    """Leaky ReLU of x W^T + b: [N, inputs] -> [N, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_gain = HE_GAIN / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, (self.weight * self.weight_gain).to(x.dtype))
        return ops.bias_act(y, self.bias, act="lrelu", gain=1.0)


class LatentToImage(nn.Module):
    """Maps latents [N, inputs] to the first features [N, channels, side, side], with one bias per channel and
    leaky ReLU."""

    def __init__(self, inputs: int, channels: int, side: int) -> None:
        super().__init__()
        self.shape = (channels, side, side)
        self.weight = nn.Parameter(torch.randn(channels * side * side, inputs))
        self.bias = nn.Parameter(torch.zeros(channels))
        # A quarter of He's gain, as in the authors' code, which does so to match their first implementation.
        self.weight_gain = HE_GAIN / 4 / math.sqrt(inputs)

    def forward(self, z: Tensor) -> Tensor:
        x = F.linear(z, self.weight * self.weight_gain).view(-1, *self.shape)
        return ops.bias_act(ops.arranged(x), self.bias, act="lrelu", gain=1.0)


class GrownBlock(Compilable, Recomputable):
    """The part that a level adds to a network: `compute(x, exact=...)`, compiled or recomputed in the
    backward pass if the run asks for it. The networks do the fading themselves, because its weight changes
    every step."""

    def forward(self, *inputs: Any, exact: bool = False, **settings: Any) -> Any:
        compiled = self._main is not None and not exact
        way = Compilable.forward if compiled else Recomputable.forward
        return way(self, *inputs, exact=exact, **settings)


def faded(below: Tensor, newest: Tensor, fade: Scalar) -> Tensor:
    """Returns the mixture of `newest` with weight `fade`, from 0 to 1, and `below` with weight 1 - fade
    (Karras et al. 2018, figure 2)."""
    weight = fade.to(below.dtype) if isinstance(fade, Tensor) else fade
    return torch.lerp(below, newest.to(below.dtype), weight)


def is_whole(fade: Scalar) -> bool:
    """Returns whether the newest level has fully faded in; a fade that is on the device has not."""
    return not isinstance(fade, Tensor) and fade >= 1


def doubled(images: Tensor) -> Tensor:
    """Repeats each pixel 2x2 times: [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(images, scale_factor=2, mode="nearest")


def halved(images: Tensor) -> Tensor:
    """Returns the mean of each 2x2 pixels: [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(images, 2)
