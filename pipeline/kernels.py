"""The choice of cuDNN's and cuBLAS's kernels on a GPU: the fastest for a shape, or deterministic ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def choose_kernels(*, deterministic: bool = False) -> None:
    """Lets cuDNN measure its algorithms once per shape and use the fastest: shapes in training repeat.

    deterministic: use only algorithms whose results repeat bit for bit from now on; an operation that has
    none raises. cuBLAS reads its setting when it starts, so call this before the first matrix product on a
    GPU.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = not deterministic, deterministic


@contextmanager
def deterministic() -> Iterator[None]:
    """Uses deterministic kernels inside, as `choose_kernels(deterministic=True)` does."""
    cudnn, before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    benchmark, repeats = cudnn.benchmark, cudnn.deterministic
    choose_kernels(deterministic=True)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = benchmark, repeats
        torch.use_deterministic_algorithms(before)
