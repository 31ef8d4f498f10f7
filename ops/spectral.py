"""The largest singular value of a weight by power iteration, and weights divided by it.

Plain PyTorch on purpose: `torch.mv` reads the weight at 1.1 to 1.2 times the time of a bare read of memory
([1536, 1536 * 9], one core), so that a compiled iteration has nothing to win; what costs is the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def spectral_norm(
    weight: Tensor, u: Tensor, *, steps: int = 1, eps: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor]:
    """(sigma, u, v): the largest singular value of weight as [O, the rest], and its singular vectors.

    Miyato et al. 2018, algorithm 1: `steps` times v = |W^T u|, u = |W v|, without gradient; sigma = u^T W v,
    whose gradient is u v^T. weight: [O, ...]. u: [O], of the last call; it is not changed, the caller keeps
    what is returned (in training alone). steps: 0 takes u as it is. eps: least norm to divide by.
    """
    u, v, product = _iterate(weight, u, steps, eps)
    sigma: Tensor = _Sigma.apply(weight, u, v, product)
    return sigma, u, v


def spectral_weight(
    weight: Tensor, u: Tensor, *, steps: int = 1, eps: float = 1e-6
) -> tuple[Tensor, Tensor, Tensor]:
    """(weight / sigma, sigma, u): sigma and u as in `spectral_norm`; differentiable any number of times.

    Its gradient is (dy - <dy, y> u v^T) / sigma (Miyato et al. 2018, eq. 12): a third of the passes over
    memory that differentiating the division takes.
    """
    u, v, product = _iterate(weight, u, steps, eps)
    y, sigma = _Divided.apply(weight, u, v, product)
    return y, sigma, u


def _iterate(weight: Tensor, u: Tensor, steps: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """u, v and W v. Without autocast: eight bits of mantissa would never converge."""
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
    """u^T W v of a known W v: no further pass over W."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, product: Tensor) -> Tensor:
        # This pass's own u and v, as constants: by the backward pass the layer's buffer has moved on, and a
        # gradient through the iteration would be another than the paper's.
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
        """In y and sigma, which are results: so it can be differentiated again."""
        y, sigma, u, v = ctx.saved_tensors
        dy, dsigma = grads
        along = torch.dot(dy.flatten().to(u.dtype), y.flatten().to(u.dtype))
        dw = (dy / sigma.to(dy.dtype)).flatten(1)
        # In place even where this is recorded for a second derivative: division saves its operands, not dw.
        dw = dw.addr_((u * (dsigma - along / sigma)).to(dw.dtype), v.to(dw.dtype))
        return dw.view(y.shape), None, None, None
