"""The activation of alias-free networks: a leaky ReLU between filters that sample up and down."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ops import _library, reference
from ops.activation import operand

MOST_TAPS = 32  # along an axis of a filter
RATES = range(1, 5)  # by which kernels sample up and down


def filtered_lrelu_reference(
    x: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    bias: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = math.sqrt(2.0),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> Tensor:
    """Adds the bias, samples up, applies a leaky ReLU with gain and clamp, and samples down (Karras et al.
    2021, section 3.2 and appendix D); returns [N, C, H', W'].

    W' = (W * up + left + right - up_taps - down_taps + 1) // down + 1, and likewise H'. x: [N, C, H, W].
    up_filter, down_filter: [w] (separable), [h, w], or None for the identity, without gradients; the first is
    applied with a gain of up^2. bias: [C], not added to the padding. up: each pixel is followed by up - 1
    zeros; down: every `down`-th is kept; both 1 to 4. padding: one number, or (left, right, top, bottom), in
    pixels of the up-sampled image; negative numbers crop. gain, slope: of the leaky ReLU. clamp: the largest
    magnitude of its result; None for no limit. flip_filter: False convolves, True correlates.
    Raises ValueError for operands that do not fit, which includes filters larger than the padded image.
    """
    x = x if bias is None else x + reference.over_pixels(bias, x).to(x.dtype)
    x = reference.upfirdn2d(
        x, up_filter, up=up, padding=padding, flip_filter=flip_filter, gain=float(up * up)
    )
    x = reference.bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return reference.upfirdn2d(x, down_filter, down=down, flip_filter=flip_filter)


_library.define("filtered_lrelu", filtered_lrelu_reference)


def filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    bias: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = math.sqrt(2.0),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> Tensor:
    """Adds the bias, samples up, applies a leaky ReLU and samples down; see `filtered_lrelu_reference`.

    For the derivatives, of any order, the compiled form keeps two bits for each sample of the up-sampled
    image, the filters, and nothing else.
    """
    pads = [padding] * 4 if isinstance(padding, int) else list(padding)
    _check_operands(x, up_filter, down_filter, bias)
    _check_numbers(x, (up_filter, down_filter), (up, down), pads, clamp)
    y: Tensor = _library.pick("filtered_lrelu", x.device.type)(
        x, up_filter, down_filter, bias, up=up, down=down, padding=pads, gain=gain, slope=slope, clamp=clamp,
        flip_filter=flip_filter,
    )  # fmt: skip
    return y


def _check_operands(
    x: Tensor, up_filter: Tensor | None, down_filter: Tensor | None, bias: Tensor | None
) -> None:
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"filtered_lrelu takes floating-point [N, C, H, W], not {x.dtype} {tuple(x.shape)}")
    for name, f in (("up_filter", up_filter), ("down_filter", down_filter)):
        if f is None:
            continue
        if f.ndim not in (1, 2) or not 1 <= min(f.shape) <= max(f.shape) <= MOST_TAPS:
            raise ValueError(
                f"{name} of shape {tuple(f.shape)}; allowed: [w] or [h, w] with 1 to {MOST_TAPS} taps a side"
            )
        if not f.is_floating_point() or f.requires_grad:
            raise ValueError(
                f"{name}: filters are floating-point tensors without a gradient, not "
                f"{f.dtype}{' that requires one' if f.requires_grad else ''}"
            )
    if bias is not None and (bias.shape != x.shape[1:2] or not bias.is_floating_point()):
        raise ValueError(
            f"bias {bias.dtype} {tuple(bias.shape)} does not fit the channels of {tuple(x.shape)}"
        )


def _check_numbers(
    x: Tensor,
    filters: Sequence[Tensor | None],
    rates: tuple[int, int],
    pads: Sequence[int],
    clamp: float | None,
) -> None:
    if any(rate not in RATES for rate in rates):
        raise ValueError(f"up={rates[0]}, down={rates[1]}; allowed: {RATES[0]} to {RATES[-1]}")
    if len(pads) != 4:
        raise ValueError(f"padding={list(pads)}; allowed: one number, or (left, right, top, bottom)")
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"{clamp=}; allowed: None or at least 0")
    up_taps, down_taps = (_sides(f) for f in filters)
    sampled = sampled_size(x.shape, up_taps, rates[0], pads)
    if any(size < taps for size, taps in zip(sampled, down_taps, strict=True)) or min(sampled) < 1:
        raise ValueError(
            f"padded image smaller than the filters: {tuple(x.shape)}, up={rates[0]}, padding={list(pads)}, "
            f"{'x'.join(map(str, up_taps))} taps up and {'x'.join(map(str, down_taps))} down"
        )


def sampled_size(
    shape: Sequence[int], taps: tuple[int, int], up: int, pads: Sequence[int]
) -> tuple[int, int]:
    """Returns height and width of the up-sampled image, on which the activation acts."""
    left, right, top, bottom = pads
    return shape[2] * up + top + bottom - taps[0] + 1, shape[3] * up + left + right - taps[1] + 1


def _sides(f: Tensor | None) -> tuple[int, int]:
    return (1, 1) if f is None else (f.shape[0], f.shape[-1])


def _native_filtered_lrelu(
    x: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    bias: Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    padding: Sequence[int],
    gain: float = math.sqrt(2.0),
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> Tensor:
    y: Tensor
    y, _ = torch.ops.hrgan.filtered_lrelu(
        x, _taps(up_filter, x), _taps(down_filter, x), operand(bias, x), up, down, list(padding), flip_filter,
        float(gain), float(slope), -1.0 if clamp is None else float(clamp), False,
    )  # fmt: skip
    return y


def _taps(f: Tensor | None, x: Tensor) -> Tensor:
    taps = operand(torch.ones(1, device=x.device) if f is None else f, x)
    assert taps is not None
    return taps


def _register() -> None:
    torch.library.register_fake("hrgan::filtered_lrelu", _fake)
    torch.library.register_fake("hrgan::filtered_by_signs", _by_signs_fake)


def _fake(
    x: Tensor, up_filter: Tensor, down_filter: Tensor, bias: Tensor | None, up: int, down: int,
    pads: list[int], flip: bool, gain: float, slope: float, clamp: float, signs: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    y = _filtered(x, up_filter, down_filter, up, down, pads)
    if not signs:
        return y, x.new_empty(0, dtype=torch.uint8)
    rows, columns = sampled_size(x.shape, _sides(up_filter), up, pads)
    return y, _like(x, (rows + 3) // 4, columns, torch.uint8)


def _by_signs_fake(
    x: Tensor, up_filter: Tensor, down_filter: Tensor, signs: Tensor, up: int, down: int, pads: list[int],
    offset: list[int], flip: bool, gain: float, slope: float,
) -> Tensor:  # fmt: skip
    return _filtered(x, up_filter, down_filter, up, down, pads)


def _filtered(
    x: Tensor, up_filter: Tensor, down_filter: Tensor, up: int, down: int, pads: list[int]
) -> Tensor:
    rows, columns = sampled_size(x.shape, _sides(up_filter), up, pads)
    height, width = _sides(down_filter)
    return _like(x, (rows - height) // down + 1, (columns - width) // down + 1, x.dtype)


def _like(x: Tensor, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    layout = torch._prims_common.suggest_memory_format(x)
    return torch.empty((*x.shape[:2], rows, columns), dtype=dtype, device=x.device, memory_format=layout)


_library.provide("filtered_lrelu", _native_filtered_lrelu)
_library.when_loaded(_register)
