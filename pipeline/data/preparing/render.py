"""Pictures of a source, normalised and encoded by several processes, in the order asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PIL import Image

from pipeline.contracts import Field
from pipeline.data.preparing.beside import encoded_fields
from pipeline.data.preparing.processes import in_order
from pipeline.data.sources.source import Source
from pipeline.images.codec import encode
from pipeline.images.normalised import Target, Unreadable, fit, is_enlarged
from pipeline.images.pixels import Remark


@dataclass(frozen=True, slots=True)
class Rendered:
    """An encoded image, or None and the reason why there is none. remarks, values: as in `Plain`. size, mode:
    of the picture as it was read. content: see `content_of`."""

    data: bytes | None
    reason: str = ""
    enlarged: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None
    extra: Mapping[str, bytes] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    content: int = 0


def rendered(
    source: Source, target: Target, fields: Sequence[Field], numbers: Iterable[int], workers: int
) -> Iterator[Rendered]:
    """The pictures `numbers` of `source` with their fields, rendered by `workers` processes, in the order of
    the numbers."""
    return in_order(partial(render, source, target, fields), numbers, workers)


def render(source: Source, target: Target, fields: Sequence[Field], number: int) -> Rendered:
    """One picture, read, fitted and encoded, with its fields."""
    try:
        picture = source.picture(number)
        fitted = fit(picture.image, target)
        extra = encoded_fields(picture, fields, target)
    except Unreadable as reason:
        return Rendered(None, str(reason))
    enlarged = is_enlarged(picture.image, target)
    data = encode(fitted, target.format, target.quality, "small")
    image = picture.image
    content = content_of(image)
    return Rendered(
        data,
        "",
        enlarged,
        picture.meta,
        picture.remarks,
        picture.values,
        extra,
        image.size,
        image.mode,
        content,
    )


def content_of(image: Image.Image) -> int:
    """64 bits of a hash of a picture's size and pixels as they were read, before it is cropped and resized:
    the same for the same picture under another name or in another lossless format."""
    digest = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=8)
    digest.update(image.tobytes())
    return int.from_bytes(digest.digest(), "little")
