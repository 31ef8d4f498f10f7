"""float32 in full: no product of it is made with TF32's ten bits of mantissa."""

from __future__ import annotations

import warnings
from typing import Any

import torch


def full_float32() -> None:
    """Convolutions and matrix products of float32 compute in float32, from now on and in all of this process.

    By itself torch takes TF32 for cuDNN's convolutions, and for products where
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE or a program says so. Images would move by 1e-3 of their range; a path
    length, whose differences are that small, becomes a hundred times what it is (`python -m tools.tf32`).
    """
    backends: Any = torch.backends
    parts = [backends, backends.cudnn, backends.mkldnn, backends.cuda.matmul]
    parts += [backends.cudnn.conv, backends.cudnn.rnn]
    parts += [backends.mkldnn.conv, backends.mkldnn.rnn, backends.mkldnn.matmul]
    for part in parts:
        part.fp32_precision = "ieee"
    # The older switches say the same: where the two disagree, torch raises at whoever reads one of them. Some
    # versions warn that they are older.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("highest")
        backends.cudnn.allow_tf32 = False
