"""CPU memory that is kept and reused, since page faults of fresh tensors cost more than their arithmetic."""

from __future__ import annotations

import torch

from ops import _library


def keep_memory() -> bool:
    """Makes this process allocate large CPU tensors in memory that it keeps and reuses from now on.

    At most an eighth more than the peak, plus 256 MiB, is held. Returns whether that is possible, since it
    needs the compiled library. Existing tensors stay where they are. It is safe to call this again, or before
    a fork.
    """
    if _library.loaded("cpu"):
        torch.ops.hrgan.keep_memory()
        return True
    return False


def memory_state() -> tuple[int, int]:
    """Returns the bytes that large CPU tensors use and the bytes kept; zeros without `keep_memory`."""
    if not _library.loaded("cpu"):
        return 0, 0
    used, kept = torch.ops.hrgan.memory_state()
    return used, kept
