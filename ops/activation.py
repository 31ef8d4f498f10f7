"""Scale, bias, noise and activation in one pass over memory; the compiled form is differentiable twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ops import _library, reference
from ops.reference import DEFAULT_GAIN, Activation

_library.define("affine_act", reference.affine_act)
_library.define("bias_act", reference.bias_act)


def affine_act(
    x: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    act: Activation = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Returns clamp(gain * act(x * scale + shift + noise)); see `reference.affine_act`."""
    chosen = _library.pick("affine_act", x.device.type)
    y: Tensor = chosen(x, scale, shift, noise, act=act, alpha=alpha, gain=gain, clamp=clamp)
    return y


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: Activation = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Returns clamp(gain * act(x + b)); see `reference.bias_act`."""
    chosen = _library.pick("bias_act", x.device.type)
    y: Tensor = chosen(x, b, dim=dim, act=act, alpha=alpha, gain=gain, clamp=clamp)
    return y


def _native_affine_act(
    x: Tensor,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    act: Activation = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    reference.check_affine(x, scale, shift, noise)
    settings = act_settings(act, alpha, gain, clamp)
    if settings is None or x.ndim < 2:
        return reference.affine_act(x, scale, shift, noise, act=act, alpha=alpha, gain=gain, clamp=clamp)
    return _run(x, scale, shift, noise, settings)


def _native_bias_act(
    x: Tensor,
    b: Tensor | None = None,
    *,
    dim: int = 1,
    act: Activation = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    settings = act_settings(act, alpha, gain, clamp)
    if settings is None or (b is not None and (x.ndim == 0 or b.shape != (x.shape[dim],))):
        return reference.bias_act(x, b, dim=dim, act=act, alpha=alpha, gain=gain, clamp=clamp)
    view = _channels_second(x, dim)
    y = _run(view, None, b, None, settings)
    return y if view is x else y.reshape(x.shape)


def _run(
    x: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    noise: Tensor | None,
    settings: tuple[str, float, float, float],
) -> Tensor:
    x = x.contiguous() if x.ndim > 4 else x  # kernels support channels-last images, but not volumes
    y: Tensor = torch.ops.hrgan.affine_act(
        x, operand(scale, x), operand(shift, x), noise_operand(noise, x), *settings
    )
    return y


def _channels_second(x: Tensor, dim: int) -> Tensor:
    """Returns x as [N, C, ...], where the channels were at `dim`; a view if x is dense."""
    if x.ndim == 0:
        return x.reshape(1, 1)
    shape, dim = x.shape, dim % x.ndim
    if dim == 1:
        return x
    if dim == x.ndim - 1:
        return x.reshape(shape[:-1].numel(), shape[-1])
    return x.reshape(shape[:dim].numel(), shape[dim], shape[dim + 1 :].numel())


def act_settings(
    act: Activation, alpha: float | None, gain: float | None, clamp: float | None
) -> tuple[str, float, float, float] | None:
    """Returns the arguments of compiled operations, or None for settings that only the plain one supports.

    The compiled derivative infers the sign of the activation's argument from the result, which requires a
    positive gain and slope. Raises ValueError for an unknown activation.
    """
    if act not in DEFAULT_GAIN:
        raise ValueError(f"unknown activation {act!r}; allowed: {', '.join(DEFAULT_GAIN)}")
    gain = DEFAULT_GAIN[act] if gain is None else gain
    alpha = 0.2 if alpha is None else alpha
    if gain <= 0 or (act == "lrelu" and alpha <= 0) or (clamp is not None and clamp < 0):
        return None
    return act, float(alpha), float(gain), -1.0 if clamp is None else float(clamp)


def operand(values: Tensor | None, x: Tensor) -> Tensor | None:
    """Returns the values in the type in which kernels compute."""
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    return values if values is None or values.dtype == kind else values.to(kind)


def noise_operand(noise: Tensor | None, x: Tensor) -> Tensor | None:
    """Returns the noise as [1 or N, 1, ...] in the type in which kernels compute."""
    if noise is not None and noise.ndim < x.ndim:
        noise = noise.reshape((1,) * (x.ndim - noise.ndim) + noise.shape)
    return operand(noise, x)


def _register() -> None:
    for name, fake in (
        ("affine_act", _fake),
        ("affine_act_backward", _backward_fake),
        ("affine_act_backward_backward", _second_fake),
    ):
        torch.library.register_fake(f"hrgan::{name}", fake)


def _fake(x: Tensor, *_: Any) -> Tensor:
    return dense_like(x)


def _backward_fake(
    dy: Tensor, ref: Tensor | None, x: Tensor | None, scale: Tensor | None, *settings: Any
) -> tuple[Tensor, ...]:
    needs = settings[-1]
    sums = _sums_like(dy)
    n, c = dy.shape[:2]
    return (
        dense_like(dy, ref, x) if needs[0] else dy.new_empty(0),
        sums.new_empty(n, c) if needs[1] else sums,
        sums.new_empty(n, c) if needs[2] else sums,
        sums.new_empty(n, 1, *dy.shape[2:]) if needs[3] else sums,
    )


def _second_fake(
    dy: Tensor,
    ref: Any,
    x: Any,
    scale: Any,
    ddx: Any,
    ddscale: Any,
    ddshift: Any,
    ddnoise: Any,
    *settings: Any,
) -> tuple[Tensor, ...]:
    needs = settings[-1]
    images = [dense_like(dy, ref, x) if needed else dy.new_empty(0) for needed in needs[:3]]
    sums = _sums_like(dy)
    return (*images, sums.new_empty(dy.shape[:2]) if needs[3] else sums)


def dense_like(x: Tensor, *bases: Tensor | None) -> Tensor:
    """Returns an empty dense tensor like x in the layout that kernels choose, which is that of the first of
    `bases` that is not None, or of x."""
    base = next((base for base in (*bases, x) if base is not None), x)
    return torch.empty_like(x, memory_format=torch._prims_common.suggest_memory_format(base))


def _sums_like(x: Tensor) -> Tensor:
    return x.new_empty(0, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


_library.provide("affine_act", _native_affine_act)
_library.provide("bias_act", _native_bias_act)
_library.when_loaded(_register)
