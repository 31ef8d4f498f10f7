"""One layer of StyleGAN3's generator (Karras et al. 2021, figure 4b)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import ops
from pipeline.models.layers import Linear, Recomputable
from pipeline.models.stylegan3.filters import low_pass
from pipeline.models.stylegan3.plan import Row, Step


class SynthesisLayer(Recomputable):
    """A modulated convolution, and a leaky ReLU at a higher sampling rate between two low-pass filters; the
    image output has neither demodulation nor filters, and is linear.

    Maps x [N, Cin, size, size] of `step.source` and w [N, w_dim] to the signal of `step.target`. magnitude:
    the running mean square of the input, by whose root it is divided. dtype: of the activations in passes
    that are not exact.
    """

    magnitude: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(
        self, step: Step, w_dim: int, *, radial: bool, dtype: torch.dtype, clamp: float | None
    ) -> None:
        super().__init__()
        inputs, outputs = step.source.channels, step.target.channels
        self.step, self.dtype, self.clamp = step, dtype, clamp
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, step.kernel, step.kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.image_gain = 1 / math.sqrt(inputs)
        self.register_buffer("magnitude", torch.ones([]))

        def filter_of(row: Row, taps: int, *, radial: bool = False) -> Tensor | None:
            return low_pass(taps, row.cutoff, 2 * row.half_width, step.work_rate, radial=radial)

        self.register_buffer("up_filter", filter_of(step.source, step.up_taps), persistent=False)
        down = filter_of(step.target, step.down_taps, radial=radial and not step.critical)
        self.register_buffer("down_filter", down, persistent=False)

    def compute(
        self, x: Tensor, w: Tensor, *, exact: bool, measure: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the signal and, if `measure`, the mean square of x, 0-d."""
        x = ops.arranged(x, self.weight.dtype if exact or self.dtype == torch.float32 else self.dtype)
        square = _mean_square(x) if measure else None
        styles, gain = self.affine(w), self.magnitude.rsqrt()
        if self.step.to_image:
            image = ops.modulated_conv2d(
                x,
                self.weight,
                styles * self.image_gain,
                bias=self.bias,
                demodulate=False,
                scale=gain,
                clamp=self.clamp,
            )
            return image, square
        # Alone, an image's weights are scaled rather than its features.
        alone, padding = len(x) == 1, self.step.kernel - 1
        x = ops.modulated_conv2d(x, self.weight, styles, padding=padding, scale=gain, fused=alone)
        return self._activated(x), square

    def _activated(self, x: Tensor) -> Tensor:
        step = self.step
        return ops.filtered_lrelu(
            x,
            self.up_filter,
            self.down_filter,
            self.bias,
            up=step.up,
            down=step.down,
            padding=step.padding * 2,
            clamp=self.clamp,
        )


def _mean_square(x: Tensor) -> Tensor:
    wide = x.detach().float() if x.dtype in (torch.float16, torch.bfloat16) else x.detach()
    return wide.square().mean()
