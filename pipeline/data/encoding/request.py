"""What to encode: everything that the bytes depend on, checked before any work starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.contracts import MOMENTS, Field
from pipeline.data.shards.fields import check_fields
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.latents import Latents
from pipeline.errors import UserError

NAME = "latents"
_AROUND_A_FIELD = 128 + 512 + 256
"""Bytes: the header of an array and that of a member of a tar, and half a block to fill the last one."""


@dataclass(frozen=True)
class Coder:
    """A codec as it is needed here. file, sha256: that of its weights, by its name. image_channels, factor,
    channels: of its images; how many pixels a latent stands for, along each side; of its latents. scale: its
    own.

    encode: [N, C, H, W] in [-1, 1] -> means and standard deviations, each [N, C', H', W']. decode: the means
    -> images. Both may be called from several threads at once.
    """

    file: str
    sha256: str
    image_channels: int
    factor: int
    channels: int
    scale: float
    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Request:
    """Which samples are encoded by what.

    source: the samples. dtype: in which the moments are stored. scale: "data" for 1 / std of all latents,
    "codec" for the codec's own, or a number. batch_size: how many images are encoded at once. device: where.
    Raises UserError for samples that the codec cannot encode.
    """

    source: ShardIndex
    coder: Coder
    dtype: Literal["float16", "float32"] = "float16"
    scale: float | Literal["data", "codec"] = "data"
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shard_size: int = 1000

    def __post_init__(self) -> None:
        source, coder = self.source, self.coder
        if any(one.name == MOMENTS for one in source.fields):
            raise UserError(f"{source.root}: has latents already; give the shards that it was made of")
        if source.channels != coder.image_channels:
            raise UserError(
                f"{source.root}: images of {source.channels} channels; {coder.file} encodes those of "
                f"{coder.image_channels}"
            )
        if source.height % coder.factor or source.width % coder.factor:
            raise UserError(
                f"{source.root}: images of {source.width}x{source.height} (width x height); {coder.file} "
                f"encodes sides that are multiples of {coder.factor}"
            )
        try:
            check_fields(self.fields)
        except UserError as error:
            raise UserError(f"{source.root}: fields{error}, with the latents'") from error

    @property
    def moments(self) -> Field:
        """The field that samples get."""
        return self.latents(std=1.0).field(self.source.height, self.source.width, self.dtype)

    @property
    def fields(self) -> tuple[Field, ...]:
        return (*self.source.fields, self.moments)

    def latents(self, std: float) -> Latents:
        """What the index says of them. std: the standard deviation of all latents."""
        coder, scale = self.coder, self.scale
        if scale == "data" and not std:
            raise UserError(f"--scale data: {coder.file} gives all images the same latents; give a number")
        known = 1 / std if scale == "data" else coder.scale if scale == "codec" else scale
        return Latents(coder.sha256, coder.factor, coder.channels, known)

    @property
    def bytes(self) -> int:
        """About how much the shards will hold."""
        moments = prod(self.moments.shape) * np.dtype(self.dtype).itemsize + _AROUND_A_FIELD
        return sum(shard.bytes for shard in self.source.shards) + self.source.count * moments

    def batches(self, numbers: range) -> Sequence[range]:
        """The `numbers` in batches that do not depend on which process encodes them."""
        starts = range(numbers.start, numbers.stop, self.batch_size)
        return [range(start, min(start + self.batch_size, numbers.stop)) for start in starts]

    def index(self, out: Path) -> ShardIndex:
        """The index as it is begun."""
        source, coder = self.source, self.coder
        # On a CPU images are encoded one by one; elsewhere rounding may depend on the size of a batch.
        together = "" if self.device.type == "cpu" else f", batches of {self.batch_size}"
        origin: dict[str, Any] = {
            "made_by": "encode",
            "of": source.digest,
            "codec": coder.sha256,
            "dtype": self.dtype,
            "scale": self.scale,
            "computed": f"{self.device.type}{together}",
            "source": dict(source.origin),
            "shard_size": self.shard_size,
            "shard_name": NAME,
        }
        return ShardIndex(
            out,
            (),
            source.height,
            source.width,
            source.channels,
            source.classes,
            json.loads(json.dumps(origin)),
            complete=False,
            fields=self.fields,
        )
