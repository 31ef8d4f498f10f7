"""What a source has beside its pictures, as fields of shards: cut and sized like the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from pipeline.contracts import Field
from pipeline.data.preparing.framing import Framing
from pipeline.data.shards.arrays import pack
from pipeline.data.shards.fields import check_fields
from pipeline.data.sources.source import Beside, Picture
from pipeline.errors import UserError
from pipeline.images.codec import encode
from pipeline.images.normalised import Target
from pipeline.images.pixels import Unreadable


def settled_fields(fields: Sequence[Field], target: Target, title: str) -> tuple[Field, ...]:
    """The fields of a source, with the target's size for those that state none. Errors: UserError unless each
    is possible."""
    sizes: Mapping[str, tuple[int, ...]] = {
        "image": (target.height, target.width, target.channels),
        "mask": (target.height, target.width),
    }
    settled = tuple(
        field if field.shape else replace(field, shape=sizes.get(field.kind, ())) for field in fields
    )
    try:
        check_fields(settled)
    except UserError as error:
        raise UserError(f"{title}: fields{error}") from error
    return settled


def encoded_fields(
    picture: Picture, fields: Sequence[Field], target: Target, framing: Framing
) -> dict[str, bytes]:
    """The content of each field, encoded; images and masks in the framing of the picture. Errors: Unreadable,
    with the field's name, if the picture lacks one or it cannot be used."""
    encoded = {}
    for field in fields:
        if field.name not in picture.extra:
            raise Unreadable(f"has no {field.name}")
        try:
            value = picture.extra[field.name]
            encoded[field.name] = _encoded(field, value, picture.image.size, target, framing)
        except Unreadable as reason:
            raise Unreadable(f"its {field.name} {reason}") from reason
    return encoded


def _encoded(field: Field, value: Beside, size: tuple[int, int], target: Target, framing: Framing) -> bytes:
    if field.kind == "text" and isinstance(value, str):
        return _text(value, field.shape[0])
    if field.kind == "array" and isinstance(value, np.ndarray):
        return _array(value, field)
    if field.kind in ("image", "mask") and isinstance(value, Image.Image):
        return _picture(field, value, size, target, framing)
    raise Unreadable(f"is no {field.kind}")


def _text(text: str, longest: int) -> bytes:
    data = text.encode(errors="replace")
    if len(data) > longest or "\0" in text:
        raise Unreadable(f"has {len(data)} bytes; at most {longest} and no zeros are allowed")
    return data


def _array(array: np.ndarray[Any, Any], field: Field) -> bytes:
    if array.shape != field.shape or array.dtype != np.dtype(field.dtype):
        raise Unreadable(f"is {array.dtype} {list(array.shape)}, not {field.dtype} {list(field.shape)}")
    return pack(array)


def _picture(
    field: Field, picture: Image.Image, size: tuple[int, int], target: Target, framing: Framing
) -> bytes:
    height, width, channels = (*field.shape, 1)[:3]
    own = replace(target, height=height, width=width, channels=channels)
    # What shows another part of the picture would be no pair: it may be larger or smaller, not another shape.
    if picture.width * size[1] != picture.height * size[0]:
        raise Unreadable(f"is {picture.width}x{picture.height}, the picture {size[0]}x{size[1]}")
    if field.kind == "image":
        return encode(framing.image(picture, own), own.format, own.quality, "small")
    if picture.mode not in ("1", "L", "P"):
        raise Unreadable(f"has mode {picture.mode}; a mask has one channel of 8 bits")
    values = Image.fromarray(np.asarray(picture if picture.mode != "1" else picture.convert("L")))
    own = replace(own, background=(0, 0, 0))
    return encode(framing.mask(values, own), "png", effort="small")
