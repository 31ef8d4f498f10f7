"""Where decoded samples lie until they are drawn: images, labels, and one tensor a field."""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.contracts import Field, ImageSpec
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError


class Arrays(NamedTuple):
    """Decoded samples as numpy sees them; shapes as in `Samples`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    extra: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Samples:
    """Decoded samples. images: [..., H, W, C] uint8. labels: [...] int64, -1 for none. extra: the fields by
    name, [..., *shape]."""

    images: Tensor
    labels: Tensor
    extra: Mapping[str, Tensor]

    def __getitem__(self, place: int | slice) -> Samples:
        extra = {name: tensor[place] for name, tensor in self.extra.items()}
        return Samples(self.images[place], self.labels[place], extra)

    def __len__(self) -> int:
        return len(self.labels)

    def as_arrays(self) -> Arrays:
        """The same memory, for numpy, which gets at one sample in a tenth of the time."""
        extra = {name: tensor.numpy() for name, tensor in self.extra.items()}
        return Arrays(self.images.numpy(), self.labels.numpy(), extra)


def shared_samples(shape: tuple[int, ...], spec: ImageSpec, fields: Sequence[Field]) -> Samples:
    """Room for samples in memory that forked processes share. Anonymous: not bound by the size of /dev/shm,
    which is 64 MB in many containers."""
    images = _shared((*shape, spec.height, spec.width, spec.channels), torch.uint8)
    extra = {field.name: _shared((*shape, *field.shape), _type_of(field)) for field in fields}
    return Samples(images, _shared(shape, torch.int64), extra)


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype=dtype).view(shape)


def fields_of(index: ShardIndex, names: Collection[str]) -> tuple[Field, ...]:
    """The fields with these names. Errors: UserError if the data set lacks one."""
    there = [field.name for field in index.fields]
    for name in names:
        if name not in there:
            raise UserError(
                f"{index.root}: its samples have no field {name}, which the family needs; "
                f"they have {', '.join(there) or 'none'}"
            )
    return tuple(field for field in index.fields if field.name in names)


class Extra:
    """The fields of a batch, as they are collected from parts of chunks."""

    def __init__(self, fields: Sequence[Field], count: int, *, pin_memory: bool = False) -> None:
        self._fields = fields
        self._stored = {
            field.name: torch.empty((count, *field.shape), dtype=_type_of(field), pin_memory=pin_memory)
            for field in fields
        }

    def take(self, part: Samples, at: int) -> None:
        """Copies the fields of `part` to their place in the batch."""
        for name, stored in self._stored.items():
            copy_numbers(stored[at : at + len(part)], part.extra[name])

    def seen(self, flips: Tensor) -> dict[str, Tensor]:
        """The fields as networks get them (see `contracts.Field`). flips: [N] bool, which samples are
        mirrored."""
        return {
            field.name: _seen(field, self._stored[field.name].to(flips.device, non_blocking=True), flips)
            for field in self._fields
        }


def copy_numbers(to: Tensor, numbers: Tensor) -> None:
    """Copies pixels or other numbers of the same shape in this thread alone: torch would spread the copy over
    threads that then spin, waiting for more, on the cores that decode (measured: half of the images a
    second)."""
    np.copyto(to.numpy(), numbers.numpy())


def _type_of(field: Field) -> torch.dtype:
    found: torch.dtype = getattr(torch, field.dtype)
    return found


def _seen(field: Field, stored: Tensor, flips: Tensor) -> Tensor:
    if field.kind not in ("image", "mask"):
        return stored
    pixels = stored.permute(0, 3, 1, 2) if field.kind == "image" else stored[:, None]
    pixels = torch.where(flips[:, None, None, None], pixels.flip(3), pixels)
    if field.kind == "mask":
        return pixels.contiguous()
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(2 / 255).sub_(1)
