"""Samples inside tar shards: where each one lies, and its members taken apart and checked.

A shard is a run of samples; a sample is a run of members `KEY.EXT` with one KEY: one image (png, jpg,
webp), `cls` (a class number in ASCII) if labelled, and `json`, whose crc32 binds image, label and key.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError

BLOCK = 512
TRAILER = 2 * BLOCK
IMAGE_EXTENSIONS = ("png", "jpg", "webp")
_EXTENSIONS = frozenset((*IMAGE_EXTENSIONS, "cls", "json"))
_READ_AHEAD = 4096
_REGULAR = (b"0", b"\0")


class Damage(Exception):
    """A shard or a sample that is not what the index says; the message says where and how."""


@contextmanager
def no_damage() -> Iterator[None]:
    """Turns Damage into a UserError that says how to mend it."""
    try:
        yield
    except Damage as damage:
        raise UserError(f"{damage}; restore it or make the data set again") from damage


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sample as stored: `image` is a file of kind `extension`; `label` a class number or None."""

    key: str
    image: bytes
    extension: str
    label: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """Where the samples of a shard lie: sample i is bytes [starts[i], starts[i + 1]).

    fault: why samples from len(starts) - 1 on cannot be read, None if all can.
    """

    starts: npt.NDArray[np.int64]
    fault: str | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1


def binding(key: str, image: bytes, label: int | None) -> int:
    """The crc32 that ties an image to its key and label."""
    text = f"{key}\0{'' if label is None else label}\0"
    return zlib.crc32(image, zlib.crc32(text.encode()))


def scan(path: Path, count: int) -> Table:
    """The table of a shard that should hold `count` samples, from its tar headers alone.

    Never raises for damage: what comes before it can still be read.
    """
    starts: list[int] = []
    last_key, fault, end = None, None, 0
    try:
        with path.open("rb", buffering=0) as file:
            for key, start, stop in _members(file.fileno(), os.fstat(file.fileno()).st_size):
                if key != last_key:
                    starts.append(start)
                    last_key = key
                end = stop
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    except Damage as damage:
        fault = f"{damage}{f', after key {last_key}' if last_key else ''}"
        # The sample before a cut may have lost members: its own check tells (see `take_apart`).
    if fault is None and len(starts) != count:
        fault = f"holds {len(starts)} samples, the index says {count}"
    return Table(np.array([*starts, end] if starts else [0], dtype=np.int64), fault)


def keys(path: Path) -> list[str]:
    """The keys of a shard's samples, in order, from its tar headers; Damage if it is not whole."""
    with path.open("rb", buffering=0) as file:
        members = _members(file.fileno(), os.fstat(file.fileno()).st_size)
        return list(dict.fromkeys(key for key, _, _ in members))


def _members(descriptor: int, size: int) -> Iterator[tuple[str, int, int]]:
    """(key, first byte, byte after) of each member; Damage unless the archive ends as it should."""
    buffer, buffer_at, at = b"", 0, 0
    while True:
        if not buffer_at <= at <= buffer_at + len(buffer) - BLOCK:
            buffer, buffer_at = os.pread(descriptor, _READ_AHEAD, at), at
        header = buffer[at - buffer_at : at - buffer_at + BLOCK]
        if len(header) < BLOCK:
            raise Damage(f"is cut short at byte {size} without the end mark of an archive")
        if not header.strip(b"\0"):
            break
        check_header(header)
        key, _, length = parse_header(header)
        stop = at + BLOCK + -(-length // BLOCK) * BLOCK
        if stop > size:
            raise Damage(f"is cut short at byte {size}, inside a member of key {key}")
        yield key, at, stop
        at = stop
    if size - at < TRAILER or os.pread(descriptor, size - at, at).strip(b"\0"):
        raise Damage(f"has no whole end mark at byte {at}")


def check_header(header: bytes) -> None:
    """Damage unless the checksum of a 512-byte tar header is right (POSIX ustar: its own field counts as
    blanks)."""
    try:
        stored = int(header[148:156].split(b"\0", 1)[0], 8)
    except ValueError as error:
        raise Damage("has a header that is not a tar header") from error
    if stored != sum(header) - sum(header[148:156]) + 8 * 32:
        raise Damage("has a damaged member header")


def parse_header(header: bytes) -> tuple[str, str, int]:
    """(key, extension, bytes) of the member that a 512-byte tar header announces; Damage if it is none."""
    try:
        length = int(header[124:136].split(b"\0", 1)[0], 8)
        prefix = header[345:500].split(b"\0", 1)[0].decode() if header[345] else ""
        name = header[:100].split(b"\0", 1)[0].decode()
    except ValueError as error:
        raise Damage("has a header that is not a tar header") from error
    if header[156:157] not in _REGULAR:
        raise Damage(f"holds a member {name!r} that is not a plain file")
    key, _, extension = (f"{prefix}/{name}" if prefix else name).partition(".")
    if extension not in _EXTENSIONS:
        raise Damage(f"holds a member {name!r} of a kind that is not allowed")
    return key, extension, length


def take_apart(block: bytes, labelled: bool) -> Encoded:
    """The sample whose members are `block`; Damage unless whole and bound together by its crc32."""
    key, parts = "", {}
    at = 0
    # Headers were checked when the shard was scanned; what changed since shows in the crc32.
    while at < len(block):
        key, extension, length = parse_header(block[at : at + BLOCK])
        parts[extension] = block[at + BLOCK : at + BLOCK + length]
        at += BLOCK + -(-length // BLOCK) * BLOCK
    images = [extension for extension in IMAGE_EXTENSIONS if extension in parts]
    if len(images) != 1:
        raise Damage(f"key {key}: has {len(images)} images, must have one")
    label = _label(key, parts, labelled)
    meta = _meta(key, parts)
    image = parts[images[0]]
    if meta.pop("crc32", None) != binding(key, image, label):
        raise Damage(f"key {key}: image, label and key do not belong together (crc32 differs)")
    return Encoded(key, image, images[0], label, meta)


def _label(key: str, parts: Mapping[str, bytes], labelled: bool) -> int | None:
    text = parts.get("cls")
    if text is None:
        if labelled:
            raise Damage(f"key {key}: its label (.cls) is missing")
        return None
    if not text.isdigit() or len(text) > 9:
        raise Damage(f"key {key}: its label (.cls) is not a class number")
    return int(text)


def _meta(key: str, parts: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        meta = json.loads(parts["json"])
    except KeyError as error:
        raise Damage(f"key {key}: its .json is missing") from error
    except (ValueError, RecursionError) as error:
        raise Damage(f"key {key}: its .json is not valid") from error
    if not isinstance(meta, dict):
        raise Damage(f"key {key}: its .json is not an object")
    return meta
