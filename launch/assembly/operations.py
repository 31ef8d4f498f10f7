"""Compiled operations for a command that computes: loaded, or compiled, before it does anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

import ops
from ops import Backend
from pipeline import words
from pipeline.errors import UserError


def use_operations(
    backend: Backend, device: torch.device, *, tell: Callable[[str], None] = words.tell
) -> None:
    """Takes what `backend` asks for on this device. UserError if native ones are demanded and missing.

    tell: gets a line where operations run as plain PyTorch; of a group of processes the first's alone should.
    On a CPU, large tensors are from then on made in memory that is kept.
    """
    with _as_user_error():
        ops.use(backend, devices=_devices(device.type), tell=tell)
    if device.type == "cpu":
        ops.keep_memory()


def prepare_operations(backend: Backend, device: Literal["auto", "cpu", "cuda"]) -> None:
    """Compiles what processes that are about to start will take: each would wait for the one that does."""
    on_gpu = device != "cpu" and torch.cuda.is_available()
    with _as_user_error():
        ops.prepare(backend, devices=_devices("cuda" if on_gpu else "cpu"), tell=words.tell)


def _devices(device: str) -> tuple[Literal["cpu", "cuda"], ...]:
    return ("cuda",) if device == "cuda" else ("cpu",)


@contextmanager
def _as_user_error() -> Iterator[None]:
    try:
        yield
    except (ops.NativeOpsMissing, ValueError) as error:  # ops know no error of ours
        raise UserError(str(error)) from error
