"""float32 in full, and where a turn of training may take TF32's ten bits of mantissa instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch

Tf32 = Literal["off", "main", "on"]
"""`engine.tf32`: which float32 convolutions and products of training may use TF32 on a GPU."""

_backends: Any = torch.backends
_fakes_may = False


def full_float32() -> None:
    """Convolutions and matrix products of float32 compute in float32, from now on and in all of this process,
    but within `of_turn`.

    By itself torch takes TF32 for cuDNN's convolutions, and for products where
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE or a program says so. Images would move by 1e-3 of their range; a path
    length, whose differences are that small, becomes a hundred times what it is
    (`python -m tools.research.tf32`).
    """
    parts = [_backends, _backends.cudnn, _backends.mkldnn, _backends.cuda.matmul]
    parts += [_backends.cudnn.conv, _backends.cudnn.rnn]
    parts += [_backends.mkldnn.conv, _backends.mkldnn.rnn, _backends.mkldnn.matmul]
    for part in parts:
        part.fp32_precision = "ieee"
    # The older switches say the same: where the two disagree, torch raises at whoever reads one of them. Some
    # versions warn that they are older.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("highest")
        _switch((False, False))


@contextmanager
def of_turn(allowed: Tf32, *, exact: bool) -> Iterator[None]:
    """Around a whole turn of a phase, for the backward pass repeats the products of the forward pass.

    exact: a pass of it asks for float32 in full. The backward pass goes through all passes at once, on a
    thread of its own, while the switch is the process's: so none of the turn uses TF32, whatever is allowed,
    but what `detached` makes.
    """
    global _fakes_may
    before, _fakes_may = _fakes_may, allowed == "on"
    try:
        with _products(tf32=allowed != "off" and not exact):
            yield
    finally:
        _fakes_may = before


@contextmanager
def detached() -> Iterator[None]:
    """torch.no_grad, around what is made in one go: with `on`, in TF32 in any turn."""
    with torch.no_grad(), _products(tf32=True) if _fakes_may else nullcontext():
        yield


@contextmanager
def _products(*, tf32: bool) -> Iterator[None]:
    before = _switches()
    _switch((tf32, tf32))
    try:
        yield
    finally:
        _switch(before)


def _switches() -> tuple[bool, bool]:
    return _backends.cudnn.allow_tf32, _backends.cuda.matmul.allow_tf32


def _switch(to: tuple[bool, bool]) -> None:
    # The older switches move the newer ones with them, but not the other way round.
    _backends.cudnn.allow_tf32, _backends.cuda.matmul.allow_tf32 = to
