"""The CUDA kernels on emulated threads, as functions of tensors on the CPU."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
KERNELS = HERE.parents[2] / "ops" / "csrc" / "cuda"
BUILT = HERE.parents[2] / "build" / "cuda_emulation"
# An index past the end of an array, or a vector that is not aligned, ends the process with a message.
FLAGS = ["-std=c++20", "-O1", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-DHRGAN_EMULATED"]
CHECKS = ["-fsanitize=bounds,alignment,shift", "-fno-sanitize-recover=all"]
UNITS = ("threads", "affine", "filters", "lrelu", "norms", "warps")
TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
ACTS = ("linear", "relu", "lrelu", "tanh", "sigmoid", "softplus", "swish")
AFFINE_OPS = {"forward": 0, "backward": 1, "backward_backward": 2}


class AffineCall(ctypes.Structure):
    """`Call` of affine.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "channels", "pixels")),
        *((name, ctypes.c_int) for name in ("channels_last", "aligned", "backwards", "act")),
        *((name, ctypes.c_double) for name in ("alpha", "gain", "clamp")),
    ]


class Axis(ctypes.Structure):
    """`FilterAxis` of filter_arguments.cuh."""

    _fields_ = [(name, ctypes.c_int) for name in ("inputs", "outputs", "up", "down", "before", "n_taps")]


class FilterCall(ctypes.Structure):
    """`Call` of filters.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "channels")),
        *((name, Axis) for name in ("y", "x")),
        *((name, ctypes.c_int) for name in ("separable", "flip", "channels_last", "backwards")),
        ("filter_gain", ctypes.c_double),
        *((name, ctypes.c_int) for name in ("blur", "act")),
        *((name, ctypes.c_double) for name in ("alpha", "gain", "clamp")),
        *((name, ctypes.c_int64) for name in ("scale_stride", "shift_stride", "noise_stride")),
    ]


@functools.cache
def library() -> ctypes.CDLL:
    """Compiled once for each state of the sources, and kept; a worker waits for the one that compiles it."""
    sources = [*sorted(KERNELS.glob("*.cuh")), *sorted(HERE.glob("*.h")), *(HERE / f"{u}.cpp" for u in UNITS)]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = BUILT / f"{state}.so"
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / f"{state}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(built)
    return ctypes.CDLL(str(built))


def _build(built: Path) -> None:
    with tempfile.TemporaryDirectory(dir=BUILT) as aside:
        with ThreadPoolExecutor(len(UNITS)) as pool:
            objects = list(pool.map(lambda unit: _compile(unit, Path(aside)), UNITS))
        made = Path(aside) / "made.so"
        _run(["g++", "-shared", *CHECKS, *objects, "-o", str(made)])
        os.replace(made, built)


def _compile(unit: str, aside: Path) -> str:
    target = str(aside / f"{unit}.o")
    _run(["g++", *FLAGS, *CHECKS, f"-I{KERNELS}", f"-I{HERE}", "-c", str(HERE / f"{unit}.cpp"), "-o", target])
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    return (ctypes.c_void_p * max(len(tensors), 1))(*map(_pointer, tensors))


def is_channels_last(x: Tensor) -> bool:
    return x.shape[2:].numel() == 1 or (x.ndim == 4 and not x.is_contiguous())


def affine(
    op: str,
    images: Sequence[Tensor | None],
    planes: Sequence[Tensor | None],
    pixels: Tensor | None,
    outputs: Sequence[Tensor | None],
    sums: Sequence[Tensor | None] = (),
    pixel_sum: Tensor | None = None,
    *,
    act: str = "linear",
    alpha: float = 0.2,
    gain: float = 1.0,
    clamp: float = -1.0,
    backwards: bool = False,
) -> bool:
    """Runs an op of affine_ops.cuh; its results are written to outputs and sums. True: by vectors."""
    x = images[0]
    assert x is not None
    everything = [t for t in (*images, *outputs) if t is not None]
    aligned = all(t.data_ptr() % 16 == 0 for t in everything)
    assert all(t.stride() == x.stride() for t in everything)
    call = AffineCall(
        *x.shape[:2],
        x.shape[2:].numel(),
        is_channels_last(x),
        aligned,
        backwards,
        ACTS.index(act),
        alpha,
        gain,
        clamp,
    )
    strides = [p.shape[1] if p is not None and p.ndim == 2 else 0 for p in planes]
    shared = pixels is None or pixels.shape[0] < x.shape[0]
    return bool(
        library().emulate_affine(
            AFFINE_OPS[op],
            TYPES[x.dtype],
            ctypes.byref(call),
            _pointers(images),
            _pointers(planes),
            (ctypes.c_int64 * len(strides))(*strides),
            ctypes.c_void_p(_pointer(pixels)),
            ctypes.c_int64(0 if shared else call.pixels),
            _pointers(outputs),
            _pointers(sums),
            ctypes.c_void_p(_pointer(pixel_sum)),
        )
    )


def filtered(
    x: Tensor,
    f: Tensor,
    out: Tensor,
    *,
    up: tuple[int, int] = (1, 1),
    down: tuple[int, int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    flip: bool = False,
    gain: float = 1.0,
    blur: dict[str, Any] | None = None,
    backwards: bool = False,
) -> bool:
    """upfirdn2d, or blur_act with the operands and settings in `blur`. True: by a fast kernel."""
    after = {"scale": None, "shift": None, "noise": None, "act": "linear", **(blur or {})}
    scale, shift, noise = after["scale"], after["shift"], after["noise"]
    call = FilterCall(
        *x.shape[:2],
        Axis(x.shape[2], out.shape[2], up[0], down[0], pads[2], f.shape[0]),
        Axis(x.shape[3], out.shape[3], up[1], down[1], pads[0], f.shape[-1]),
        f.ndim == 1,
        flip,
        x.ndim == 4 and not x.is_contiguous(),
        backwards,
        gain,
        blur is not None,
        ACTS.index(after["act"]),
        after.get("alpha", 0.2),
        after.get("gain", 1.0),
        after.get("clamp", -1.0),
        x.shape[1] if scale is not None and scale.ndim == 2 else 0,
        x.shape[1] if shift is not None and shift.ndim == 2 else 0,
        out.shape[2:].numel() if noise is not None and noise.shape[0] == x.shape[0] else 0,
    )
    arguments = [ctypes.c_void_p(_pointer(t)) for t in (x, f, out, scale, shift, noise)]
    return bool(library().emulate_filter(TYPES[x.dtype], ctypes.byref(call), *arguments))
