"""What samples have beside image and label: its names in shards, and its place in the index.

A field NAME is a member of each sample: KEY.NAME.png (or jpg, webp) for an image or a mask, KEY.NAME.npy for
an array, KEY.NAME.txt for a text, or plain KEY.txt where the field is called text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from pipeline.contracts import SECOND, Field, FieldKind
from pipeline.data.shards.checked_json import Entries
from pipeline.errors import UserError

DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32")
MOST_FIELDS = 32
MOST_BYTES = 1 << 28
"""Of one field of one sample, decoded."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = frozenset(("png", "jpg", "webp", "cls", "json", "npy", "txt", SECOND))
_LARGEST = 1 << 16  # of any dimension
_DIMENSIONS: dict[FieldKind, range] = {
    "image": range(3, 4),
    "mask": range(2, 3),
    "text": range(1, 2),
    "array": range(1, 9),
}
_PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}


def size_of(field: Field) -> int:
    """The size of a decoded field in bytes, for one sample."""
    return math.prod(field.shape) * np.dtype(field.dtype).itemsize


def check_fields(fields: Sequence[Field]) -> None:
    """Raises UserError, which begins with the place in the list, unless every field is possible and no name
    occurs twice."""
    if len(fields) > MOST_FIELDS:
        raise UserError(f": {len(fields)}; at most {MOST_FIELDS} are allowed")
    for number, field in enumerate(fields):
        fault = _fault(field)
        if not fault and field.name in {other.name for other in fields[:number]}:
            fault = f"name: {field.name} is listed twice"
        if fault:
            raise UserError(f"[{number}].{fault}")


def _fault(field: Field) -> str:
    if not _NAME.fullmatch(field.name) or field.name in _TAKEN:
        return (
            f"name: {field.name!r:.40}; must be 1 to 32 of a-z, 0-9 and _, a letter first, and none of "
            f"{', '.join(sorted(_TAKEN))}"
        )
    if field.kind not in _DIMENSIONS:
        return f"kind: {field.kind!r:.40}; allowed: {', '.join(get_args(FieldKind))}"
    if field.dtype not in (DTYPES if field.kind == "array" else ("uint8",)):
        allowed = ", ".join(DTYPES) if field.kind == "array" else "uint8"
        return f"dtype: {field.dtype!r:.40}; allowed for {field.kind}: {allowed}"
    if len(field.shape) not in _DIMENSIONS[field.kind] or not all(0 < n <= _LARGEST for n in field.shape):
        return f"shape: {list(field.shape)}; not that of {field.kind}"
    if field.kind == "image" and field.shape[2] not in (1, 3):
        return f"shape: {field.shape[2]} channels; allowed: 1 (grey), 3 (RGB)"
    if size_of(field) > MOST_BYTES:
        return f"shape: {size_of(field)} bytes a sample; at most {MOST_BYTES} are allowed"
    return ""


def fields_as_json(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """The fields, as the index lists them."""
    return [
        {"name": field.name, "kind": field.kind, "shape": list(field.shape), "dtype": field.dtype}
        for field in fields
    ]


def parse_fields(rows: Any, where: object) -> tuple[Field, ...]:
    """The fields that an index lists. Errors: UserError, which names the index and the key."""
    if not isinstance(rows, list):
        raise UserError(f"{where}: fields: must be list, not {rows!r:.40}")
    read = []
    for number, row in enumerate(rows[: MOST_FIELDS + 1]):
        entries = Entries(row, where, f"fields[{number}].")
        shape = entries.take("shape", list)
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in shape):
            raise UserError(f"{where}: fields[{number}].shape: must be whole numbers, not {shape!r:.40}")
        kind: Any = entries.take("kind", str)
        read.append(Field(entries.take("name", str), kind, tuple(shape), entries.take("dtype", str)))
    try:
        check_fields(read)
    except UserError as error:
        raise UserError(f"{where}: fields{error}") from error
    return tuple(read)


def members_of(field: Field) -> tuple[str, ...]:
    """What may follow a sample's key and a dot in the name of the field's member."""
    if field.kind in ("image", "mask"):
        return tuple(f"{field.name}.{extension}" for extension in _PICTURES.values())
    if field.kind == "text":
        return ("txt",) if field.name == "text" else (f"{field.name}.txt",)
    return (f"{field.name}.npy",)


def member_for(field: Field, data: bytes) -> str:
    """The name of the member for this content. Errors: ValueError for a picture of a format that is not
    stored."""
    names = members_of(field)
    if len(names) == 1:
        return names[0]
    for start, extension in _PICTURES.items():
        if data.startswith(start):
            return f"{field.name}.{extension}"
    raise ValueError(f"field {field.name}: neither PNG, JPEG nor WebP")


def sorted_out(fields: Sequence[Field], parts: Mapping[str, bytes]) -> dict[str, tuple[str, bytes]]:
    """The member and the content of each field, from all members of a sample."""
    contents = {}
    for field in fields:
        there = [member for member in members_of(field) if member in parts]
        if len(there) == 1:
            contents[field.name] = (there[0], parts[there[0]])
    return contents
