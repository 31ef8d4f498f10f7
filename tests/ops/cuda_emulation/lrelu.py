"""The kernels of filtered_lrelu*.cuh on emulated threads, on CPU tensors: what filtered_lrelu.cu does."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ops.alias_free import sampled_size
from tests.ops.cuda_emulation.library import TYPES, library


class LreluAxis(ctypes.Structure):
    """`LreluAxis` of filtered_lrelu_arguments.cuh."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            "inputs", "samples", "outputs", "up", "down", "before", "up_taps", "down_taps", "signed_samples",
            "offset",
        )
    ]  # fmt: skip


class LreluCall(ctypes.Structure):
    """`Call` of lrelu.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("planes", "channels")),
        *((name, LreluAxis) for name in ("y", "x")),
        *((name, ctypes.c_int) for name in ("up_separable", "down_separable", "flip", "backwards")),
        *((name, ctypes.c_double) for name in ("up_gain", "gain", "falling", "clamp")),
    ]


def result_sizes(
    x: Tensor, up_filter: Tensor, down_filter: Tensor, up: int, down: int, pads: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the samples, and of the result."""
    samples = sampled_size(x.shape, (up_filter.shape[0], up_filter.shape[-1]), up, pads)
    taps = down_filter.shape[0], down_filter.shape[-1]
    rows, columns = ((s - t) // down + 1 for s, t in zip(samples, taps, strict=True))
    return samples, (rows, columns)


def filtered(
    x: Tensor,
    up_filter: Tensor,
    down_filter: Tensor,
    out: Tensor,
    *,
    bias: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    pads: Sequence[int] = (0, 0, 0, 0),
    flip: bool = False,
    gain: float = 1.0,
    slope: float = 0.2,
    clamp: float = -1.0,
    kept: Tensor | None = None,
    signs: Tensor | None = None,
    offset: Sequence[int] = (0, 0),
    backwards: bool = False,
) -> bool:
    """Writes to `out`, and signs to `kept`; with `signs` it is filtered_by_signs. True: by a fast kernel."""
    samples, outputs = result_sizes(x, up_filter, down_filter, up, down, pads)
    assert out.shape == (*x.shape[:2], *outputs)
    signed = (0, 0) if signs is None else (4 * signs.shape[2], signs.shape[3])
    axes = [
        LreluAxis(
            x.shape[2 + i], samples[i], outputs[i], up, down, pads[2 - 2 * i], up_filter.shape[-i],
            down_filter.shape[-i], signed[i], offset[i],
        )
        for i in (0, 1)
    ]  # fmt: skip
    call = LreluCall(
        x.shape[:2].numel(),
        x.shape[1],
        *axes,
        up_filter.ndim == 1,
        down_filter.ndim == 1,
        flip,
        backwards,
        up if signs is None else 1,
        gain,
        gain * slope,
        math.inf if clamp < 0 else clamp,
    )
    operands = (x, bias, up_filter, down_filter, out, kept, signs)
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in operands]
    return bool(library().emulate_lrelu(TYPES[x.dtype], ctypes.byref(call), *pointers))


def forward(
    x: Tensor, up_filter: Tensor, down_filter: Tensor, bias: Tensor | None, up: int, down: int,
    pads: list[int], flip: bool, gain: float, slope: float, clamp: float, signs: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """hrgan::filtered_lrelu by its CUDA kernels."""
    samples, outputs = result_sizes(x, up_filter, down_filter, up, down, pads)
    y = x.new_empty((*x.shape[:2], *outputs))
    shape = (*x.shape[:2], (samples[0] + 3) // 4, samples[1]) if signs else (0,)
    kept = x.new_empty(shape, dtype=torch.uint8)
    filtered(
        x.contiguous(), up_filter, down_filter, y, bias=bias, up=up, down=down, pads=pads, flip=flip,
        gain=gain, slope=slope, clamp=clamp, kept=kept if signs else None,
    )  # fmt: skip
    return y, kept


def by_signs(
    x: Tensor, up_filter: Tensor, down_filter: Tensor, signs: Tensor, up: int, down: int, pads: list[int],
    offset: list[int], flip: bool, gain: float, slope: float,
) -> Tensor:  # fmt: skip
    """hrgan::filtered_by_signs by its CUDA kernels."""
    _, outputs = result_sizes(x, up_filter, down_filter, up, down, pads)
    y = x.new_empty((*x.shape[:2], *outputs))
    filtered(
        x.contiguous(), up_filter, down_filter, y, up=up, down=down, pads=pads, flip=flip, gain=gain,
        slope=slope, signs=signs.contiguous(), offset=offset,
    )  # fmt: skip
    return y
