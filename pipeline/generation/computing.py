"""Computing images so that they are the same bits wherever they are made on machines of one kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from pipeline import kernels

FIXED_BATCH = 8
"""Images at once on a GPU where bits must not depend on anything else."""

_MOST_THREADS = 16


def own_cores(beside: int = 1) -> int:
    """How many cores this process may use, of those that it shares with `beside` processes on this
    machine."""
    return min(max(len(os.sched_getaffinity(0)) // beside, 1), _MOST_THREADS)


@contextmanager
def repeatable(device: torch.device, *, deterministic: bool = False) -> Iterator[None]:
    """Inside, an image is the same bits in every process of this kind.

    On a CPU one thread computes an image: several would share sums out differently, and round differently.
    deterministic: only algorithms that repeat bit for bit; one that has no such form raises.
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
