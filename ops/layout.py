"""The memory layout that a device convolves fastest."""

from __future__ import annotations

import torch
from torch import Tensor

from ops import _library


def arranged(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """x [N, C, H, W] in a type and in the layout that convolutions and compiled operations prefer on its
    device: channels innermost where the compiled operations run (oneDNN's and the tensor cores' own), as
    it is otherwise, and so is float32 on a GPU without TF32. Layers keep what they are given, so that a
    network asks once.
    """
    dtype = x.dtype if dtype is None else dtype
    if not _prefers_channels_last(x.device.type, dtype):
        return x.to(dtype)
    return x.to(dtype=dtype, memory_format=torch.channels_last)


def _prefers_channels_last(device: str, dtype: torch.dtype) -> bool:
    if _library.backend() == "reference" or not _library.loaded(device):
        return False
    return device == "cpu" or dtype in (torch.bfloat16, torch.float16) or _uses_tf32()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _uses_tf32() -> bool:
    """Whether float32 convolutions on a GPU use tensor cores now (`pipeline.float32`); without, they favour
    planes. A compiled graph is guarded by torch on the switch itself."""
    return bool(torch.backends.cudnn.allow_tf32)
