"""Convolutions whose second derivatives are convolutions too.

PyTorch's own second derivative rearranges images into weights and back, which costs more than the
arithmetic. Here the gradient of the image is the transposed convolution, that of the weight an operation of
its own, and the three are each other's derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ops import _library

Setting = tuple[int, int, int, bool, tuple[int, int]]
"""stride, padding, groups, transposed, output padding (y, x)."""


def conv2d(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    """F.conv2d. x: [N, Cin, H, W]; weight: [Cout, Cin / groups, kh, kw]."""
    y: Tensor = _library.pick("conv2d", x.device.type)(x, weight, stride, padding, groups, False)
    return y


def conv_transpose2d(
    x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """F.conv_transpose2d. x: [N, Cin, H, W]; weight: [Cin, Cout / groups, kh, kw]."""
    y: Tensor = _library.pick("conv2d", x.device.type)(x, weight, stride, padding, groups, True)
    return y


def _plain(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int, transposed: bool) -> Tensor:
    if transposed:
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding, groups=groups)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=groups)


def _closed(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int, transposed: bool) -> Tensor:
    # A compiled graph has no second derivative to take, and sees through PyTorch's own.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _plain(x, weight, stride, padding, groups, transposed)
    y: Tensor = _Convolution.apply(x, weight, (stride, padding, groups, transposed, (0, 0)))
    return y


def _convolve(x: Tensor, weight: Tensor, setting: Setting) -> Tensor:
    stride, padding, groups, transposed, extra = setting
    y: Tensor = torch.ops.aten.convolution(
        x, weight, None, [stride] * 2, [padding] * 2, [1, 1], transposed, list(extra), groups
    )
    return y


def _gradients(
    dy: Tensor, x: Tensor, weight: Tensor, setting: Setting, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    stride, padding, groups, transposed, extra = setting
    by_phases = needs[1] and _splits(dy, x, weight, setting)
    mask = [needs[0], needs[1] and not by_phases, False]
    dx = dw = None
    if any(mask):
        two = [stride] * 2, [padding] * 2, [1, 1]
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dy, x, weight, None, *two, transposed, list(extra), groups, mask
        )
    if by_phases:
        dw = _by_phases(dy, x) if transposed else _by_phases(x, dy)
    return dx, dw


def _splits(dy: Tensor, x: Tensor, weight: Tensor, setting: Setting) -> bool:
    """True where oneDNN's gradient of a weight with stride 2 falls behind its own with stride 1."""
    stride, padding, groups, transposed, extra = setting
    large, small = (dy, x) if transposed else (x, dy)
    plain = (stride, padding, groups, extra) == (2, 0, 1, (0, 0)) and weight.shape[2:] == (3, 3)
    sizes = small.shape[2] >= 16 and all(large.shape[i] == 2 * small.shape[i] + 1 for i in (2, 3))
    last = large.is_contiguous(memory_format=torch.channels_last)
    return plain and sizes and last and x.device.type == "cpu" and x.dtype == torch.float32


def _by_phases(large: Tensor, small: Tensor) -> Tensor:
    """The gradient of a 3x3 weight between an image and one of half the size (2H + 1 and H): the large
    image's odd and even rows and columns see taps of their own, without a stride."""
    outputs, inputs = small.shape[1], large.shape[1]
    dw = small.new_empty(outputs, inputs, 3, 3)
    for y in (0, 1):
        for x in (0, 1):
            part = large[:, :, y::2, x::2].contiguous(memory_format=torch.channels_last)
            like = small.new_empty(1).expand(outputs, inputs, 2 - y, 2 - x)
            _, taps, _ = torch.ops.aten.convolution_backward(
                small, part, like, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
            )
            dw[:, :, y::2, x::2] = taps
    return dw


def _adjoint(setting: Setting, x: torch.Size, weight: torch.Size, dy: torch.Size) -> Setting:
    """The convolution that takes dy back to the size of x."""
    stride, padding, groups, transposed, _ = setting
    if transposed:
        return stride, padding, groups, False, (0, 0)
    short = [x[i] - ((dy[i] - 1) * stride - 2 * padding + weight[i]) for i in (2, 3)]
    return stride, padding, groups, True, (short[0], short[1])


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, setting: Setting) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.setting = setting
        return _convolve(x, weight, setting)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        if not torch.is_grad_enabled():
            return *_gradients(dy, x, weight, ctx.setting, (needs_x, needs_weight)), None
        dx = dw = None
        if needs_x:
            back = _adjoint(ctx.setting, x.shape, weight.shape, dy.shape)
            dx = _Convolution.apply(dy, weight, back)
        if needs_weight:
            dw = _WeightGradient.apply(x, dy, weight.shape, ctx.setting)
        return dx, dw, None


class _WeightGradient(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dy: Tensor, shape: torch.Size, setting: Setting) -> Tensor:
        ctx.save_for_backward(x, dy)
        ctx.shape, ctx.setting = shape, setting
        # Only the shape of a weight is looked at when its gradient alone is asked for.
        _, dw = _gradients(dy, x, x.new_empty(1).expand(shape), setting, (False, True))
        assert dw is not None
        return dw

    @staticmethod
    def backward(ctx: Any, ddw: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, dy = ctx.saved_tensors
        dx = d_dy = None
        if ctx.needs_input_grad[0]:
            back = _adjoint(ctx.setting, x.shape, ctx.shape, dy.shape)
            dx = _Convolution.apply(dy, ddw, back)
        if ctx.needs_input_grad[1]:
            d_dy = _Convolution.apply(x, ddw, ctx.setting)
        return dx, d_dy, None, None


_library.define("conv2d", _plain)
_library.provide("conv2d", _closed)
