"""What a pickle becomes here: plain Python values, and records of what would have been objects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class Refused(Exception):
    """A file that this reader does not take; the message says what stands in it and what is allowed."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle would have imported: nothing but the name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Bag(dict[Any, Any]):
    """The attributes of an object that is a bag of values (argparse's Namespace, dnnlib's EasyDict)."""


@dataclass(slots=True)
class Record:
    """An object that would have been made by code in the file: its class's name and its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Storage:
    """The numbers of tensors. count: of elements. source: reads its bytes, once the file knows where."""

    dtype: torch.dtype
    count: int
    source: Callable[[], bytes | memoryview] | None = None

    def flat(self) -> Tensor:
        """All elements, [count]. Errors: Refused if there are fewer bytes than it says."""
        if self.source is None:
            raise Refused("a tensor's numbers are missing from the file")
        data = self.source()
        if len(data) != self.count * self.dtype.itemsize:
            raise Refused(f"a tensor of {self.count} numbers has {len(data)} bytes")
        if not self.count:
            return torch.empty(0, dtype=self.dtype)
        return torch.frombuffer(bytearray(data), dtype=self.dtype)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that has not been read yet: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(type(n) is int and n >= 0 for n in numbers) or len(self.shape) != len(self.stride):
            raise Refused(f"a tensor of impossible shape {self.shape} and strides {self.stride}")
        # No more elements than numbers: else a file of a few bytes could ask for all memory.
        if len(self.shape) > 8 or self.offset + max(self._reach, self.elements) > self.storage.count:
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
        """Its values, contiguous and owned. Errors: Refused if the file has too few."""
        return self.storage.flat().as_strided(self.shape, self.stride, self.offset).clone().contiguous()
