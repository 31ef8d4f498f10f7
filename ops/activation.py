"""Bias, scale, noise and activation in one pass over memory; the compiled form is differentiable twice."""

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
    """clamp(gain * act(x * scale + shift + noise)): see `reference.affine_act`."""
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
    """clamp(gain * act(x + b)): see `reference.bias_act`."""
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
    x = x.contiguous() if x.ndim > 4 else x  # kernels know channels-last images, not volumes
    y: Tensor = torch.ops.hrgan.affine_act(
        x, operand(scale, x), operand(shift, x), noise_operand(noise, x), *settings
    )
    return y


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
    view, back = _channels_second(x, dim)
    y: Tensor = back(torch.ops.hrgan.affine_act(view, None, operand(b, x), None, *settings))
    return y


def _channels_second(x: Tensor, dim: int) -> tuple[Tensor, Any]:
    """x as [N, C, ...] with the channels that were at `dim`, and the way back; views if x is dense."""
    if x.ndim >= 2 and dim % x.ndim == 1 and x.ndim != 2:
        return x, lambda y: y
    if x.ndim and dim % x.ndim == x.ndim - 1:
        # Channels innermost: [1, C, rows, 1] is that in the channels-last layout.
        shape = x.shape
        flat = x.reshape(1, shape[:-1].numel(), 1, shape[-1]).permute(0, 3, 1, 2)
        return flat, lambda y: y.permute(0, 2, 3, 1).reshape(shape)
    if x.ndim == 0:
        return x.reshape(1, 1), lambda y: y.reshape(())
    shape, dim = x.shape, dim % x.ndim
    sizes = shape[:dim].numel(), shape[dim], shape[dim + 1 :].numel()
    return x.reshape(sizes), lambda y: y.reshape(shape)


def act_settings(
    act: Activation, alpha: float | None, gain: float | None, clamp: float | None
) -> tuple[str, float, float, float] | None:
    """What compiled operations take, or None for what only the plain one computes: its derivative reads
    the sign of its argument off the result, which wants a positive gain and slope. Errors: ValueError."""
    if act not in DEFAULT_GAIN:
        raise ValueError(f"unknown activation {act!r}; allowed: {', '.join(DEFAULT_GAIN)}")
    gain = DEFAULT_GAIN[act] if gain is None else gain
    alpha = 0.2 if alpha is None else alpha
    if gain <= 0 or (act == "lrelu" and alpha <= 0) or (clamp is not None and clamp < 0):
        return None
    return act, float(alpha), float(gain), -1.0 if clamp is None else float(clamp)


def operand(values: Tensor | None, x: Tensor) -> Tensor | None:
    """In the type that kernels compute in."""
    return None if values is None else values.to(torch.float64 if x.dtype == torch.float64 else torch.float32)


def noise_operand(noise: Tensor | None, x: Tensor) -> Tensor | None:
    """[1 or N, 1, ...] in the type that kernels compute in."""
    if noise is None:
        return None
    lead = x.ndim - noise.ndim
    return operand(noise.reshape((1,) * lead + noise.shape), x)


def _register() -> None:
    for name, fake, setup, backward in (
        ("affine_act", _fake, _setup, _backward),
        ("affine_act_backward", _backward_fake, _backward_setup, _backward_backward),
        ("affine_act_backward_backward", _second_fake, None, _no_third),
    ):
        torch.library.register_fake(f"hrgan::{name}", fake)
        torch.library.register_autograd(f"hrgan::{name}", backward, setup_context=setup)


def _fake(x: Tensor, *_: Any) -> Tensor:
    return dense_like(x)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, shift, noise, *settings = inputs
    needs_x = scale is not None and ctx.needs_input_grad[1]
    swish = settings[0] == "swish"
    ctx.save_for_backward(
        output if has_ref(settings) and not swish else None,
        x if needs_x or swish else None,
        scale,
        shift if swish else None,
        noise if swish else None,
    )
    ctx.settings, ctx.layout = settings, torch._prims_common.suggest_memory_format(output)
    ctx.shapes = [None if t is None else t.shape for t in (scale, shift, noise)]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, dy: Tensor | None) -> tuple[Any, ...]:
    if dy is None:
        return (None,) * 8
    # Whatever the layout of dy, gradients keep the image's: the convolutions they reach want it.
    dy = dy.contiguous(memory_format=ctx.layout)
    y, x, scale, shift, noise = ctx.saved_tensors
    ref = y
    if ctx.settings[0] == "swish":  # its derivative cannot be read off y
        ref = torch.ops.hrgan.affine_act(x, scale, shift, noise, "linear", 0.0, 1.0, -1.0)
    needs = list(ctx.needs_input_grad[:4])
    grads = torch.ops.hrgan.affine_act_backward(dy, ref, x if needs[1] else None, scale, *ctx.settings, needs)
    return *fitted(grads, needs, ctx.shapes), None, None, None, None


def fitted(grads: tuple[Tensor, ...], needs: list[bool], shapes: list[Any]) -> list[Tensor | None]:
    """Gradients of x, scale, shift and noise from sums of each image: in the shapes of the operands."""
    dx, *sums = grads
    found: list[Tensor | None] = [dx if needs[0] else None]
    for grad, needed, shape in zip(sums, needs[1:], shapes, strict=True):
        if not needed:
            found.append(None)
        elif len(shape) == 1 or (shape[0] == 1 and grad.shape[0] != 1):
            found.append(grad.sum(dim=0).reshape(shape))
        else:
            found.append(grad)
    return found


def has_ref(settings: Any) -> bool:
    """True if the derivative depends on where it is taken."""
    return bool(settings[0] != "linear" or settings[3] >= 0)


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


def _backward_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    dy, ref, x, scale, *settings, _ = inputs
    ctx.save_for_backward(dy, ref, x, scale)
    ctx.settings = settings
    ctx.set_materialize_grads(False)


def _backward_backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    if all(grad is None for grad in grads):
        return (None,) * 9
    dy, ref, x, scale = ctx.saved_tensors
    ddx, ddscale, ddshift, ddnoise = grads
    wanted = ctx.needs_input_grad
    bent = ctx.settings[0] in ("tanh", "sigmoid", "softplus", "swish")
    needs = [
        wanted[0],
        wanted[1] and bent,
        wanted[2] and ddscale is not None,
        wanted[3] and ddx is not None,
    ]
    found = torch.ops.hrgan.affine_act_backward_backward(
        dy, ref, x, scale, ddx, ddscale, ddshift, ddnoise, *ctx.settings, needs
    )
    d_dy, d_ref, d_x, d_scale = (grad if needed else None for grad, needed in zip(found, needs, strict=True))
    if d_scale is not None and scale.ndim == 1:
        d_scale = d_scale.sum(dim=0)
    return d_dy, d_ref, d_x, d_scale, None, None, None, None, None


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


def _no_third(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    raise RuntimeError(
        "compiled operations are differentiable twice, those of ops.backend=reference any number of times"
    )


def dense_like(x: Tensor, *bases: Tensor | None) -> Tensor:
    """An empty tensor like x, dense in the layout that kernels choose: that of the first base there is."""
    base = next((base for base in (*bases, x) if base is not None), x)
    return torch.empty_like(x, memory_format=torch._prims_common.suggest_memory_format(base))


def _sums_like(x: Tensor) -> Tensor:
    return x.new_empty(0, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


_library.provide("affine_act", _native_affine_act)
_library.provide("bias_act", _native_bias_act)
_library.when_loaded(_register)
