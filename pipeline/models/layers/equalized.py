"""Layers with an equalised learning rate, whose weights are stored at unit scale and scaled when they are
used.

Karras et al. 2018, section 4.1. With a `rate` below 1, weights are stored larger by 1 / rate and scaled back,
so that Adam, whose steps do not depend on the scale of the gradient, changes them `rate` times as fast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from ops import Activation


class Linear(nn.Module):
    """act(x W^T + b) on the last dimension: [..., inputs] -> [..., outputs]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: float | None = 0.0,
        act: Activation = "linear",
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.act = act
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / rate))
        self.weight_gain = rate / math.sqrt(inputs)
        self.bias_gain = rate

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else (self.bias * self.bias_gain).to(x.dtype)
        weight = (self.weight * self.weight_gain).to(x.dtype)
        if self.act == "linear":
            return F.linear(x, weight, bias)
        return ops.bias_act(F.linear(x, weight), bias, dim=-1, act=self.act)


class Conv2d(nn.Module):
    """act(gain * (resampled convolution + b)): [N, Cin, H, W] -> [N, Cout, H * up / down, W * up / down].

    The output has the type of x; parameters stay float32.
    """

    resample_filter: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        bias: bool = True,
        act: Activation = "linear",
        up: int = 1,
        down: int = 1,
        taps: tuple[float, ...] = (1, 3, 3, 1),
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.act, self.up, self.down, self.clamp = act, up, down, clamp
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.weight_gain = 1 / math.sqrt(inputs * kernel * kernel)
        resampling = up > 1 or down > 1
        self.register_buffer(
            "resample_filter", ops.setup_filter(taps) if resampling else None, persistent=False
        )

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """gain: a factor on the output; the clamp is scaled along."""
        plain = self.bias is None and self.act == "linear" and self.clamp is None
        weight_gain = self.weight_gain * gain if plain else self.weight_gain
        weight = (self.weight * weight_gain).to(x.dtype)
        if plain:
            return ops.conv2d_resample(
                x, weight, f=self.resample_filter, up=self.up, down=self.down, padding=self.padding
            )
        return ops.conv2d_act(
            x,
            weight,
            shift=self.bias,
            f=self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            act=self.act,
            gain=scaled_gain(self.act, gain),
            clamp=scaled_clamp(self.clamp, gain),
        )


def scaled_gain(act: Activation, gain: float) -> float:
    """Returns the activation's own gain times `gain`."""
    return gain * (math.sqrt(2.0) if act in ("relu", "lrelu", "swish") else 1.0)


def scaled_clamp(clamp: float | None, gain: float) -> float | None:
    """Returns the clamp for an output that is `gain` times its usual size."""
    return None if clamp is None else clamp * gain
