"""CPU memory that is kept and reused: page faults of fresh tensors cost more than their arithmetic."""

from __future__ import annotations

import torch

from ops import _library


def keep_memory() -> bool:
    """From now on this process makes large CPU tensors in memory that it keeps and reuses.

    At most an eighth more than the peak (and 256 MiB) is held. True if it does: it needs the compiled
    library. Tensors of before stay where they are. Safe to call again, and before a fork.
    """
    if _library.loaded("cpu"):
        torch.ops.hrgan.keep_memory()
        return True
    return False


def memory_state() -> tuple[int, int]:
    """Bytes that large CPU tensors take now, and bytes kept for later; zeros without `keep_memory`."""
    if not _library.loaded("cpu"):
        return 0, 0
    used, kept = torch.ops.hrgan.memory_state()
    return used, kept
