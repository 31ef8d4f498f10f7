"""The memory layout in which a device convolves fastest."""

from __future__ import annotations

import torch
from torch import Tensor

from ops import _library


def arranged(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Returns x [N, C, H, W] in the given type and in the layout that convolutions and compiled operations
    prefer on its device.

    That is channels last, the native layout of oneDNN and of tensor cores, where compiled operations run.
    Otherwise, and for float32 on a GPU without TF32, the layout stays the same. Layers keep the layout of
    their input, so that a network has to ask only once.
    """
    dtype = x.dtype if dtype is None else dtype
    if not _prefers_channels_last(x.device.type, dtype):
        return x.to(dtype)
    return x.to(dtype=dtype, memory_format=torch.channels_last)


def _prefers_channels_last(device: str, dtype: torch.dtype) -> bool:
    if _library.backend() == "reference" or not _library.loaded(device):
        return False
    return device == "cpu" or dtype in (torch.bfloat16, torch.float16) or _uses_tf32()


def _uses_tf32() -> bool:
    """Returns whether float32 convolutions on a GPU use tensor cores now (`pipeline.float32`); if not, they
    are faster with channels first."""
    return bool(torch.backends.cudnn.allow_tf32)


def settle_for_graphs() -> None:
    """Makes `arranged` traceable: to be called before `torch.compile`. TF32's switch is a constant to a
    compiled graph, which torch guards by the switch itself."""
    # Not a decorator: it loads the compiler, for seconds, also where nothing is compiled.
    torch.compiler.assume_constant_result(_uses_tf32)  # type: ignore[no-untyped-call]
