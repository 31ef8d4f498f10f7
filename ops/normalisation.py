"""Normalisation over channels, groups and batches; compiled forms are differentiable any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

from ops import _library, reference
from ops.activation import affine_act, dense_like
from ops.reference import Activation

_library.define("pixel_norm", reference.pixel_norm)
_library.define("minibatch_stddev", reference.minibatch_stddev)


def batch_moments_reference(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and biased variance [C] of x [N, C, ...] over all dimensions but the channels, in
    float32 or float64, for batch normalisation (Ioffe & Szegedy 2015, algorithm 1)."""
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    var, mean = torch.var_mean(x, dim=[0, *range(2, x.ndim)], correction=0)
    return mean, var


_library.define("batch_moments", batch_moments_reference)


def pixel_norm(x: Tensor, *, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Divides x by its root mean square along `dim`; see `reference.pixel_norm`."""
    y: Tensor = _library.pick("pixel_norm", x.device.type)(x, dim=dim, eps=eps)
    return y


def minibatch_stddev(x: Tensor, group: int, channels: int = 1, *, eps: float = 1e-8) -> Tensor:
    """Appends maps of the batch's standard deviation; see `reference.minibatch_stddev`."""
    y: Tensor = _library.pick("minibatch_stddev", x.device.type)(x, group, channels, eps=eps)
    return y


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and biased variance of each channel; see `batch_moments_reference`."""
    mean, var = _library.pick("batch_moments", x.device.type)(x)
    return mean, var


def conditional_norm_act(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gain: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    act: Activation = "linear",
    alpha: float | None = None,
    act_gain: float | None = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Returns act((x - mean) / sqrt(var + eps) * gain + bias) in the shape and type of x, in one pass over x.

    This is batch normalisation whose gain and bias may depend on the sample (Dumoulin et al. 2017, eq. 5;
    Brock et al. 2019, appendix B). x: [N, C, ...]. mean, var: [C] or [N, C], those of the batch
    (`batch_moments`) or standing ones. gain, bias: [C] or [N, C]; None for 1 and 0. act_gain: the factor on
    the activation; None for its default. The other arguments are those of `affine_act`.
    """
    scale = (var + eps).rsqrt()
    scale = scale if gain is None else gain * scale
    shift = -mean * scale if bias is None else bias - mean * scale
    return affine_act(x, scale, shift, act=act, alpha=alpha, gain=act_gain, clamp=clamp)


def _native_pixel_norm(x: Tensor, *, dim: int = 1, eps: float = 1e-8) -> Tensor:
    if x.ndim not in (2, 3, 4) or dim % x.ndim != 1:
        return reference.pixel_norm(x, dim=dim, eps=eps)
    y: Tensor = torch.ops.hrgan.pixel_norm(x, float(eps))
    return y


def _native_minibatch_stddev(x: Tensor, group: int, channels: int = 1, *, eps: float = 1e-8) -> Tensor:
    reference.check_groups(x, group, channels)
    y: Tensor = torch.ops.hrgan.minibatch_stddev(x, group, channels, float(eps))
    return y


def _native_batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    if x.ndim not in (2, 3, 4) or x.numel() == 0:
        return batch_moments_reference(x)
    mean, var = torch.ops.hrgan.batch_moments(x)
    return mean, var


def _register() -> None:
    for name, fake in (
        ("pixel_norm", _pixel_fake),
        ("pixel_norm_backward", _pixel_backward_fake),
        ("minibatch_stddev", _stddev_fake),
        ("minibatch_stddev_backward", _stddev_backward_fake),
        ("batch_moments", _moments_fake),
    ):
        torch.library.register_fake(f"hrgan::{name}", fake)


def _pixel_fake(x: Tensor, eps: float) -> Tensor:
    return dense_like(x)


def _pixel_backward_fake(dy: Tensor, x: Tensor, eps: float) -> Tensor:
    return dense_like(x)


def _stddev_fake(x: Tensor, group: int, channels: int, eps: float) -> Tensor:
    n, c, h, w = x.shape
    layout = torch._prims_common.suggest_memory_format(x)
    return torch.empty(n, c + channels, h, w, dtype=x.dtype, device=x.device, memory_format=layout)


def _stddev_backward_fake(dy: Tensor, x: Tensor, group: int, channels: int, eps: float) -> Tensor:
    return dense_like(x)


def _moments_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    mean = torch.empty(x.shape[1], dtype=kind, device=x.device)
    return mean, torch.empty_like(mean)


_library.provide("pixel_norm", _native_pixel_norm)
_library.provide("minibatch_stddev", _native_minibatch_stddev)
_library.provide("batch_moments", _native_batch_moments)
_library.when_loaded(_register)
