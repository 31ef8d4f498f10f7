"""Full float32, and where a turn of training may use TF32, with its ten bits of mantissa, instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch

Tf32 = Literal["off", "main", "on"]
"""`engine.tf32`: which float32 convolutions and matrix products of training may use TF32 on a GPU."""

_backends: Any = torch.backends
_fakes_may = False


def full_float32() -> None:
    """Makes convolutions and matrix products of float32 compute in full float32, in the whole process from
    now on, except within `of_turn`.

    By default torch uses TF32 for cuDNN's convolutions, and for matrix products where
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE or a program says so. Images would change by 1e-3 of their range; a path
    length, which is made of differences that small, would be a hundred times too large
    (`python -m tools.research.tf32`).
    """
    parts = [_backends, _backends.cudnn, _backends.mkldnn, _backends.cuda.matmul]
    parts += [_backends.cudnn.conv, _backends.cudnn.rnn]
    parts += [_backends.mkldnn.conv, _backends.mkldnn.rnn, _backends.mkldnn.matmul]
    for part in parts:
        part.fp32_precision = "ieee"
    # The older switches are set alike: if the two disagree, torch raises when either is read. Some versions
    # warn that the older ones are deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("highest")
        _switch((False, False))


@contextmanager
def of_turn(allowed: Tf32, *, exact: bool) -> Iterator[None]:
    """Allows TF32 inside, if `allowed` says so. It encloses a whole turn of a phase, because the backward
    pass computes products of the same kind as the forward pass.

    exact: whether a pass of the turn asks for full float32. The backward pass goes through all passes at once
    and on a thread of its own, while the switch applies to the whole process. Hence no part of such a turn
    uses TF32, whatever is allowed, except what is made within `detached`.
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
    """Disables gradients inside, and uses TF32 in every turn, exact or not, if `of_turn` allows "on"."""
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
    # Setting the older switches also sets the newer ones, but not the other way round.
    _backends.cudnn.allow_tf32, _backends.cuda.matmul.allow_tf32 = to
