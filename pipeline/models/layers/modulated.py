"""StyleGAN2's modulated layers: convolutions whose weights are scaled by the style of each image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import ops
from pipeline.models.layers.equalized import Linear, scaled_clamp, scaled_gain


class ModulatedConv2d(nn.Module):
    """One synthesis layer: modulated convolution, noise, bias, leaky ReLU (Karras et al. 2020a, figure 2c).

    Maps x [N, Cin, H, W] and w [N, w_dim] to [N, Cout, H * up, W * up] in the type of x. The noise strength,
    one number per layer, starts at 0. size: (height, width) of the output.
    """

    resample_filter: Tensor | None
    noise_const: Tensor | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        size: tuple[int, int],
        *,
        kernel: int = 3,
        up: int = 1,
        noise: bool = True,
        clamp: float | None = None,
        taps: tuple[float, ...] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.up, self.clamp, self.padding = up, clamp, kernel // 2
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([])) if noise else None
        self.register_buffer("noise_const", torch.randn(size) if noise else None)
        self.register_buffer("resample_filter", ops.setup_filter(taps) if up > 1 else None, persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, gain: float = 1.0) -> Tensor:
        """noise: standard normal, [N, 1, H * up, W * up] or [H * up, W * up]; None for no noise. gain: a
        factor on the output."""
        if noise is not None and self.noise_strength is not None:
            noise = noise * self.noise_strength
        return ops.modulated_conv2d(
            x,
            self.weight,
            self.affine(w),
            noise=noise if self.noise_strength is not None else None,
            bias=self.bias,
            up=self.up,
            padding=self.padding,
            resample_filter=self.resample_filter,
            act="lrelu",
            gain=scaled_gain("lrelu", gain),
            clamp=scaled_clamp(self.clamp, gain),
        )


class ToImage(nn.Module):
    """A 1x1 modulated convolution to image channels, without demodulation: [N, Cin, H, W] -> [N, C, H, W]."""

    def __init__(self, inputs: int, channels: int, w_dim: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w) * self.weight_gain
        return ops.modulated_conv2d(
            x, self.weight, styles, bias=self.bias, demodulate=False, clamp=self.clamp
        )
