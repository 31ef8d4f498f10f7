"""The kernels of normalisation_kernels.cuh and moments_kernels.cuh on emulated threads, on CPU tensors."""

from __future__ import annotations

import ctypes

from torch import Tensor

from tests.ops.cuda_emulation.library import TYPES, is_channels_last, library

OPS = (
    "pixel_norm",
    "pixel_norm_backward",
    "minibatch_stddev",
    "minibatch_stddev_backward",
    "batch_moments",
)


class NormCall(ctypes.Structure):
    """`Call` of norms.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "channels", "pixels", "group", "slices")),
        *((name, ctypes.c_int) for name in ("channels_last", "aligned", "backwards")),
        ("eps", ctypes.c_double),
    ]


def norm(
    op: str,
    x: Tensor,
    out: Tensor,
    *,
    dy: Tensor | None = None,
    group: int = 1,
    slices: int = 1,
    eps: float = 1e-8,
    last: bool | None = None,
    backwards: bool = False,
) -> bool:
    """Runs an op; its result is written to out. True: by vectors.

    last: the layout, where strides of x do not tell.
    """
    everything = [t for t in (x, out, dy) if t is not None]
    call = NormCall(
        *x.shape[:2],
        x.shape[2:].numel(),
        group,
        slices,
        is_channels_last(x) if last is None else last,
        all(t.data_ptr() % 16 == 0 for t in everything),
        backwards,
        eps,
    )
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (dy, x, out)]
    return bool(library().emulate_norm(OPS.index(op), TYPES[x.dtype], ctypes.byref(call), *pointers))
