"""Settings under which images have the same bits wherever they are made on machines of one kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from pipeline import kernels

FIXED_BATCH = 8
"""The batch size on a GPU if bits must not depend on the requested batch size."""

_MOST_THREADS = 16


def own_cores(beside: int = 1) -> int:
    """How many cores this process may use if `beside` processes share this machine, itself included."""
    return min(max(len(os.sched_getaffinity(0)) // beside, 1), _MOST_THREADS)


@contextmanager
def repeatable(device: torch.device, *, deterministic: bool = False) -> Iterator[None]:
    """Inside this context, an image has the same bits in every process of this kind.

    On a CPU, one thread computes each image, because several would split sums differently and so round
    differently. With `deterministic`, only algorithms that repeat bit for bit are used; operations that have
    none raise.
    """
    with ExitStack() as stack:
        if device.type == "cpu":
            stack.enter_context(_one_thread())
        if deterministic:
            stack.enter_context(kernels.deterministic())
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
