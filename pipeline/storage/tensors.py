"""Tensors on disk as safetensors, which cannot execute code."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.storage.manifest import Damaged


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes named tensors; an OSError if the disk refuses."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path)
    except SafetensorError as error:
        # The library reports I/O failures as text only; the number is needed to explain them.
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads named tensors onto the CPU. Raises Damaged if the file is not what it says."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path}: {error}") from error
