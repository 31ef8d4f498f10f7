"""Chooses where large CPU tensors are allocated, in memory that is kept or fresh from the system, while
running."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

import ops

Memory = Literal["kept", "system", "own"]


class Allocators:
    """The system's allocator and ours, which needs the compiled operations.

    kept: all tensors are allocated in memory that is kept. system: none are. own: only ours are, so that
    every contestant runs as it does in its own program. `ours` and `others` switch the allocator before a
    turn.
    """

    def __init__(self, memory: Memory) -> None:
        self.ours: Callable[[], object] = _nothing
        self.others: Callable[[], object] = _nothing
        self.name = "fresh"
        if memory == "system" or not ops.loaded("cpu"):
            return
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
        get, put = (library[symbol] for symbol in (_GET, _SET))
        get.restype, put.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_uint8)
        system = get()
        ops.keep_memory()
        kept, self.name = get(), "kept and reused"
        if memory == "own":
            self.name = "kept for ours, fresh for the others"
            self.ours, self.others = (lambda: put(kept, 0)), (lambda: put(system, 0))


# c10::GetCPUAllocator() and c10::SetCPUAllocator(Allocator*, uint8_t), which torch offers to C++ alone.
_GET, _SET = "_ZN3c1015GetCPUAllocatorEv", "_ZN3c1015SetCPUAllocatorEPNS_9AllocatorEh"


def _nothing() -> None:
    return None
