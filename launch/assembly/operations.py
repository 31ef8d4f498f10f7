"""Compiled operations for commands that compute: loaded, or compiled first, before anything else happens."""

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
    """Uses the operations that `backend` asks for on this device. UserError if native ones are required and
    missing.

    `tell` gets a line where operations run as plain PyTorch; in a group of processes, only the first should
    pass one. On a CPU, memory for large tensors is from then on kept and reused.
    """
    with _as_user_error():
        ops.use(backend, devices=_devices(device.type), tell=tell)
    if device.type == "cpu":
        ops.keep_memory()


def prepare_operations(backend: Backend, device: Literal["auto", "cpu", "cuda"]) -> None:
    """Compiles what processes that are about to start will load, so that they do not wait for each other to
    do it."""
    on_gpu = device != "cpu" and torch.cuda.is_available()
    with _as_user_error():
        ops.prepare(backend, devices=_devices("cuda" if on_gpu else "cpu"), tell=words.tell)


def _devices(device: str) -> tuple[Literal["cpu", "cuda"], ...]:
    return ("cuda",) if device == "cuda" else ("cpu",)


@contextmanager
def _as_user_error() -> Iterator[None]:
    try:
        yield
    except (ops.NativeOpsMissing, ValueError) as error:  # ops do not know our errors
        raise UserError(str(error)) from error
