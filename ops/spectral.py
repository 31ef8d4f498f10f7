"""The largest singular value of a weight by power iteration, and weights divided by it.

This is plain PyTorch on purpose: `torch.mv` takes 1.1 to 1.2 times as long as merely reading the weight from
memory ([1536, 1536 * 9], one core), so a compiled iteration could not be faster; the cost is in the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def spectral_norm(
    weight: Tensor, u: Tensor, *, steps: int = 1, eps: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (sigma, u, v): the largest singular value of the weight as a matrix [O, the rest], and its
    singular vectors.

    Miyato et al. 2018, algorithm 1: v = |W^T u| and u = |W v|, where |.| normalises a vector, are repeated
    `steps` times without gradient; then sigma = u^T W v, whose gradient is u v^T. weight: [O, ...]. u: [O],
    the result of the last call. It is not changed; the caller stores the new one, in training only. steps: 0
    takes u as it is. eps: the least norm that is divided by.
    """
    u, v, product = _iterate(weight, u, steps, eps)
    sigma: Tensor = _Sigma.apply(weight, u, v, product)
    return sigma, u, v


def spectral_weight(
    weight: Tensor, u: Tensor, *, steps: int = 1, eps: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (weight / sigma, sigma, u), with sigma and u as in `spectral_norm`; differentiable any number
    of times.

    The gradient is (dy - <dy, y> u v^T) / sigma (Miyato et al. 2018, eq. 12), which takes a third of the
    passes over memory that differentiating the division would.
    """
    u, v, product = _iterate(weight, u, steps, eps)
    y, sigma = _Divided.apply(weight, u, v, product)
    return y, sigma, u


def _iterate(weight: Tensor, u: Tensor, steps: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns u, v and W v, without autocast: with 8 bits of mantissa the iteration would not converge."""
    if steps < 0 or u.shape != weight.shape[:1]:
        raise ValueError(f"u of shape {tuple(u.shape)}, {steps=} do not fit a weight {tuple(weight.shape)}")
    with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
        matrix = weight.detach().flatten(1).to(u.dtype)
        for _ in range(steps):
            v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=eps)
            product = torch.mv(matrix, v)
            u = F.normalize(product, dim=0, eps=eps)
        if not steps:
            v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=eps)
            product = torch.mv(matrix, v)
        return u, v, product


class _Sigma(torch.autograd.Function):
    """u^T W v for a known W v, without another pass over W."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, product: Tensor) -> Tensor:
        # The u and v of this pass, as constants: before the backward pass the layer's buffer may change, and
        # a gradient through the iteration would differ from the paper's.
        ctx.save_for_backward(u, v)
        ctx.weight = weight.shape, weight.dtype
        return torch.dot(u, product)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        u, v = ctx.saved_tensors
        shape, kind = ctx.weight
        return torch.outer(u * grads[0], v).view(shape).to(kind), None, None, None


class _Divided(torch.autograd.Function):
    """(y, sigma) = (W / u^T W v, u^T W v)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
        sigma = torch.dot(u, product)
        y = weight / sigma.to(weight.dtype)
        ctx.save_for_backward(y, sigma, u, v)
        return y, sigma

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """The gradient in terms of the results y and sigma, so that it can be differentiated again."""
        y, sigma, u, v = ctx.saved_tensors
        dy, dsigma = grads
        along = torch.dot(dy.flatten().to(u.dtype), y.flatten().to(u.dtype))
        dw = (dy / sigma.to(dy.dtype)).flatten(1)
        # In place, even if this is recorded for a second derivative: the division saves its operands, not dw.
        dw = dw.addr_((u * (dsigma - along / sigma)).to(dw.dtype), v.to(dw.dtype))
        return dw.view(y.shape), None, None, None
