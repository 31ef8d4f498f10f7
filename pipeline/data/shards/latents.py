"""What an index says of the latents among the fields of its samples: whose they are, and their scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.contracts import MOMENTS, Field
from pipeline.data.shards.checked_json import Entries
from pipeline.data.shards.rows import SHA256
from pipeline.errors import UserError


@dataclass(frozen=True, slots=True)
class Latents:
    """The latents that each sample's field MOMENTS describes.

    codec: the sha256 of the file of the codec that made them, in hex. factor: how many pixels a latent stands
    for, along each side. channels: those of a latent. scale: what models multiply latents by, so that their
    standard deviation is about 1; the field is without it.
    """

    codec: str
    factor: int
    channels: int
    scale: float

    def field(self, height: int, width: int, dtype: str) -> Field:
        """The field of these latents, of images of this size."""
        shape = (2 * self.channels, height // self.factor, width // self.factor)
        return Field(MOMENTS, "array", shape, dtype)

    def as_json(self) -> dict[str, Any]:
        """Its entry in index.json."""
        return asdict(self)


def parse_latents(
    row: Any, height: int, width: int, fields: Sequence[Field], where: object
) -> Latents | None:
    """The latents that index.json at `where` tells of; None if it tells of none. Errors: UserError, which
    names the key, also if they are not those of its images and its field."""
    if row is None:
        return None
    entries = Entries(row, where, "latents.")
    codec, scale = entries.take("codec", str), entries.take("scale", float)
    if not SHA256.match(codec):
        raise UserError(f"{where}: latents.codec: must be 64 hexadecimal digits")
    if not (math.isfinite(scale) and scale > 0):
        raise UserError(f"{where}: latents.scale: {scale}; must be a number above 0")
    factor, channels = (entries.take(key, int, low=1) for key in ("factor", "channels"))
    latents = Latents(codec, factor, channels, scale)
    whole = height % factor == width % factor == 0
    there = next((field for field in fields if field.name == MOMENTS), None)
    if there is None or not whole or there != latents.field(height, width, there.dtype):
        raise UserError(
            f"{where}: latents: factor {factor} and {channels} channels are not those of its field {MOMENTS}"
        )
    return latents
