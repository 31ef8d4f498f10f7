"""Which of a library's kernels compute on a GPU: the fastest of a shape, or those that repeat bit for bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def choose_kernels(*, deterministic: bool = False) -> None:
    """For training, whose shapes stay: cuDNN measures its algorithms once a shape and takes the fastest.

    deterministic: only algorithms that repeat bit for bit, from now on; an operation that has none raises.
    cuBLAS reads its part when it starts, so this comes before the first product on a GPU.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = not deterministic, deterministic


@contextmanager
def deterministic() -> Iterator[None]:
    """Inside, `choose_kernels(deterministic=True)`."""
    cudnn, before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    benchmark, repeats = cudnn.benchmark, cudnn.deterministic
    choose_kernels(deterministic=True)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = benchmark, repeats
        torch.use_deterministic_algorithms(before)
