"""Convolutions whose second derivatives are convolutions too.

PyTorch's own second derivative rearranges images into weights and back, which costs more than the arithmetic.
Here the gradient of the image is a transposed convolution, the gradient of the weight is an operation of its
own, and the three are each other's derivatives (`csrc/autograd/convolution.cpp`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import _library


def conv2d(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    """Computes F.conv2d. x: [N, Cin, H, W]. weight: [Cout, Cin / groups, kh, kw]."""
    y: Tensor = _library.pick("conv2d", x.device.type)(x, weight, stride, padding, groups, False)
    return y


def conv_transpose2d(
    x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """Computes F.conv_transpose2d. x: [N, Cin, H, W]. weight: [Cin, Cout / groups, kh, kw]."""
    y: Tensor = _library.pick("conv2d", x.device.type)(x, weight, stride, padding, groups, True)
    return y


def _plain(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int, transposed: bool) -> Tensor:
    if transposed:
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding, groups=groups)
    return F.conv2d(x, weight, stride=stride, padding=padding, groups=groups)


def _closed(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int, transposed: bool) -> Tensor:
    y: Tensor = torch.ops.hrgan.conv2d.default(x, weight, stride, padding, groups, transposed)
    return y


_library.define("conv2d", _plain)
_library.provide("conv2d", _closed)
