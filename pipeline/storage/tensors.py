"""Tensors on disk as safetensors, which cannot execute code."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import Damaged
from pipeline.reading import open_file
from pipeline.storage.atomic import aside_of, remove_folder


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """Writes named tensors, with `about` as text in the file's header. Raises OSError if the disk refuses."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    mode = _usual_mode(path)
    # The library writes a file aside of its own, whose name does not say whose it is.
    inside = aside_of(path)
    try:
        inside.mkdir()
        save_file(plain, inside / path.name, metadata=None if about is None else dict(about))
        (inside / path.name).chmod(mode)  # the library's own file is for its owner alone
        os.replace(inside / path.name, path)
    except SafetensorError as error:
        # The library reports I/O failures as text only; the number is needed to explain them.
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        remove_folder(inside)


def _usual_mode(path: Path) -> int:
    # The umask, asked for without setting it, which would be seen by all threads.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads named tensors onto the CPU. Raises Damaged if the file is not what it says."""
    with _explained(path):
        return load_file(path)


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Yields an open file with `keys()` and `get_tensor(name)`, which reads one tensor onto the CPU. Raises
    Damaged as `load_tensors`, also from inside."""
    with _explained(path), safe_open(path, framework="pt") as file:
        yield file


def tensor_shapes(path: Path) -> dict[str, Tensor]:
    """Tensors without data, of the names and shapes in a file's header. Raises Damaged as `load_tensors`."""
    with _explained(path), safe_open(path, framework="pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.offset_keys()}
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def read_about(path: Path) -> dict[str, str]:
    """The text that stands beside the tensors in a file's header. Raises Damaged as `load_tensors`."""
    with _explained(path), safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        open_file(path).close()  # the library would wait for whoever writes into a pipe
        yield
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        # What has no word in the library's own error: a type that this version of torch does not have.
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Damaged(f"{path}: {said or type(error).__name__}") from error
