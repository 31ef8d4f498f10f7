"""Arrays as .npy files, written the same way every time, and read without anything that could run."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import Damaged

_MOST_HEADER = 1 << 12


def pack(array: npt.NDArray[Any]) -> bytes:
    """A .npy file, version 1.0, in C order and little-endian; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, plain, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def unpack(data: bytes, shape: Sequence[int], dtype: str | np.dtype[Any]) -> npt.NDArray[Any]:
    """The array of a .npy file; Damaged unless it is one of just this shape and type, and no byte more."""
    stored, fortran, kind, start = _header(data)
    wanted = np.dtype(dtype).newbyteorder("<")
    if stored != tuple(shape) or kind != wanted:
        raise Damaged(f"holds {kind} {list(stored)}, the index says {wanted} {list(shape)}")
    if len(data) - start != math.prod(shape) * wanted.itemsize:
        raise Damaged("its numbers end before their time or go on after it")
    values: npt.NDArray[Any] = np.frombuffer(data, wanted, offset=start)
    return values.reshape(tuple(shape), order="F" if fortran else "C")


def stored_type(data: bytes) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type and the shape that a .npy file states. Errors: Damaged if it is none."""
    shape, _, kind, _ = _header(data)
    return kind, shape


def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, whether in Fortran's order, type, first byte of the numbers) as a .npy file states them."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"version {version[0]}.{version[1]}")
        # The header is a literal, parsed as such: objects, whose content would be a pickle, are told by
        # their type and never read.
        stored, fortran, kind = np.lib.format.read_array_header_1_0(file, max_header_size=_MOST_HEADER)
    except Exception as error:  # numpy's parser raises of every kind on broken headers
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Damaged(f"not a .npy file ({reason:.80})") from error
    return tuple(stored), fortran, kind, file.tell()
