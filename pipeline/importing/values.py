"""What a pickle becomes here: plain Python values, and stand-ins for objects."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MOST_NUMBERS = 1 << 40
"""The largest number of elements in a storage, and the largest size, stride or offset of a tensor."""
_MOST_DIMENSIONS = 8
_SHOWN = 80  # the most characters of a text in messages


class Refused(Exception):
    """A file that this reader refuses. The message says what the file holds and what is allowed."""


class Budget:
    """How much reading one file may cost in all: steps (instructions and copied items) and bytes of copied
    text."""

    def __init__(self, steps: int, size: int) -> None:
        self._steps, self._bytes = steps, size

    def spend(self, *values: Any, steps: int = 0) -> None:
        """Spends `steps`, and the cost of copying each value without what it contains. Raises Refused when
        the budget is used up."""
        for value in values:
            if isinstance(value, str | bytes | bytearray):
                self._bytes -= len(value)
            elif isinstance(value, tuple | list | dict | set):
                steps += len(value)
        self._steps -= steps
        if self._steps < 0 or self._bytes < 0:
            raise Refused("refused: a pickle that takes more steps than any weights need")


@dataclass(frozen=True, slots=True)
class Global:
    """The name of something that a pickle would have imported, and nothing but the name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def shown(value: Any) -> str:
    """A value of a file, for a message. Anything but small values is described by its type: a tuple of a few
    bytes can contain itself so often or so deep that printing it would never end."""
    if isinstance(value, str):
        return ascii(value[:_SHOWN])
    if isinstance(value, Global):
        return f"{ascii(value.module[:_SHOWN])[1:-1]}.{ascii(value.name[:_SHOWN])[1:-1]}"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple) and len(value) <= _MOST_DIMENSIONS and all(type(n) is int for n in value):
        return f"({', '.join(map(shown, value))}{',' if len(value) == 1 else ''})"
    return f"a {type(value).__name__}"


class Bag(dict[Any, Any]):
    """The attributes of an object that only holds values (argparse's Namespace, dnnlib's EasyDict)."""


@dataclass(slots=True)
class ForeignObject:
    """An object that code in the file would have made: the name of its class, and its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Storage:
    """Numbers that tensors share. count: how many there are. source: reads their bytes; None until their
    position is known."""

    dtype: torch.dtype
    count: int
    source: Callable[[], bytes | memoryview] | None = None

    def flat(self) -> Tensor:
        """All elements, [count], in the memory of the file, which must not be written to. Raises Refused if
        the file has fewer bytes than it states."""
        if self.source is None:
            raise Refused("a tensor's numbers are missing from the file")
        data = self.source()
        if len(data) != self.count * self.dtype.itemsize:
            raise Refused(f"a tensor of {self.count} numbers has {len(data)} bytes")
        if not self.count:
            return torch.empty(0, dtype=self.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the warning that the buffer is not writable
            return torch.frombuffer(data, dtype=self.dtype)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that has not been read yet: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if max(len(self.shape), len(self.stride)) > _MOST_DIMENSIONS:
            raise Refused(f"a tensor of {max(len(self.shape), len(self.stride))} dimensions")
        numbers = (self.offset, *self.shape, *self.stride)
        fits = all(type(n) is int and 0 <= n <= MOST_NUMBERS for n in numbers)
        # Sizes count even beside a 0, because torch multiplies them in 64 bits.
        if (
            not fits
            or len(self.shape) != len(self.stride)
            or math.prod(n or 1 for n in self.shape) > MOST_NUMBERS
        ):
            raise Refused(
                f"a tensor of impossible shape {shown(self.shape)}, strides {shown(self.stride)} or offset "
                f"{shown(self.offset)}"
            )
        # No more elements than numbers, or a file of a few bytes could claim all memory.
        if self.offset + max(self._reach, self.elements) > self.storage.count:
            raise Refused(f"a tensor of shape {self.shape} in a storage of {self.storage.count} numbers")

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def _reach(self) -> int:
        if not self.elements:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    def read(self) -> Tensor:
        """The tensor's values, contiguous and in memory of their own. Raises Refused if the file has too
        few."""
        view = self.storage.flat().as_strided(self.shape, self.stride, self.offset)
        return view.clone(memory_format=torch.contiguous_format)
