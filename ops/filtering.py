"""Upsampling, filtering and downsampling in one operation, alone and with the activation that follows.

The operation is linear in the image: its derivative is the same operation with up and down exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ops import _library, reference
from ops.activation import act_settings, noise_operand, operand
from ops.reference import Activation

_library.define("upfirdn2d", reference.upfirdn2d)


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Upsamples, pads, filters and downsamples images; see `reference.upfirdn2d`."""
    chosen = _library.pick("upfirdn2d", x.device.type)
    y: Tensor = chosen(x, f, up=up, down=down, padding=padding, flip_filter=flip_filter, gain=gain)
    return y


def blur_act_reference(
    x: Tensor,
    f: Tensor | None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    padding: int | Sequence[int] = 0,
    filter_gain: float = 1.0,
    act: Activation = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Returns affine_act(upfirdn2d(x, f, padding, gain=filter_gain), scale, shift, noise), the steps that
    follow an upsampling convolution (Karras et al. 2020a, appendix B)."""
    x = reference.upfirdn2d(x, f, padding=padding, gain=filter_gain)
    return reference.affine_act(x, scale, shift, noise, act=act, gain=gain, clamp=clamp)


_library.define("blur_act", blur_act_reference)


def blur_act(
    x: Tensor,
    f: Tensor | None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    padding: int | Sequence[int] = 0,
    filter_gain: float = 1.0,
    act: Activation = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Filters, scales, shifts, adds noise and applies the activation; see `blur_act_reference`."""
    y: Tensor = _library.pick("blur_act", x.device.type)(
        x, f, scale, shift, noise, padding=padding, filter_gain=filter_gain, act=act, gain=gain, clamp=clamp
    )
    return y


def _native_upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    if f is not None and f.requires_grad:  # a filter that is trained has a gradient like a convolution's
        return reference.upfirdn2d(
            x, f, up=up, down=down, padding=padding, flip_filter=flip_filter, gain=gain
        )
    pads = _four(padding)
    f = _taps(f, x)
    check_filter(x, f, up, pads)
    y: Tensor = torch.ops.hrgan.upfirdn2d(x, f, [up, up], [down, down], pads, flip_filter, float(gain))
    return y


def _native_blur_act(
    x: Tensor,
    f: Tensor | None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    padding: int | Sequence[int] = 0,
    filter_gain: float = 1.0,
    act: Activation = "linear",
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    settings = act_settings(act, None, gain, clamp)
    if settings is None or (f is not None and f.requires_grad):
        return blur_act_reference(
            x,
            f,
            scale,
            shift,
            noise,
            padding=padding,
            filter_gain=filter_gain,
            act=act,
            gain=gain,
            clamp=clamp,
        )
    f, pads = _taps(f, x), _four(padding)
    check_filter(x, f, 1, pads)
    y: Tensor = torch.ops.hrgan.blur_act(
        x,
        f,
        pads,
        False,
        float(filter_gain),
        operand(scale, x),
        operand(shift, x),
        noise_operand(noise, x),
        *settings,
    )
    return y


def check_filter(x: Tensor, f: Tensor, up: int, pads: Sequence[int]) -> None:
    """Raises ValueError if the padded image is smaller than the filter."""
    height, width = sizes(f)
    left, right, top, bottom = pads
    if x.shape[3] * up + left + right < width or x.shape[2] * up + top + bottom < height:
        raise ValueError(
            f"padded image smaller than the {height}x{width} filter: {tuple(x.shape)}, {up=}, padding={pads}"
        )


def sizes(f: Tensor | None) -> tuple[int, int]:
    """Returns the height and width of a filter; None stands for the identity."""
    if f is None:
        return 1, 1
    return (f.shape[0], f.shape[0]) if f.ndim == 1 else (f.shape[0], f.shape[1])


def _four(padding: int | Sequence[int]) -> list[int]:
    return [padding] * 4 if isinstance(padding, int) else list(padding)


def _taps(f: Tensor | None, x: Tensor) -> Tensor:
    taps = torch.ones(1, device=x.device) if f is None else f
    values = operand(taps, x)
    assert values is not None
    return values


def _register() -> None:
    torch.library.register_fake("hrgan::upfirdn2d", _fake)
    torch.library.register_fake("hrgan::blur_act", _blur_fake)


def _fake(
    x: Tensor, f: Tensor, up: list[int], down: list[int], pads: list[int], flip: bool, gain: float
) -> Tensor:
    height, width = sizes(f)
    left, right, top, bottom = pads
    rows = (x.shape[2] * up[0] + top + bottom - height) // down[0] + 1
    columns = (x.shape[3] * up[1] + left + right - width) // down[1] + 1
    layout = torch._prims_common.suggest_memory_format(x)
    return torch.empty((*x.shape[:2], rows, columns), dtype=x.dtype, device=x.device, memory_format=layout)


def _blur_fake(x: Tensor, f: Tensor, pads: list[int], flip: bool, filter_gain: float, *_: Any) -> Tensor:
    return _fake(x, f, [1, 1], [1, 1], pads, flip, filter_gain)


_library.provide("upfirdn2d", _native_upfirdn2d)
_library.provide("blur_act", _native_blur_act)
_library.when_loaded(_register)
