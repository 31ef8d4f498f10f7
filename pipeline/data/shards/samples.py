"""Samples inside tar shards: where each one lies, and its members taken apart and checked.

A shard is a run of samples; a sample is a run of members `KEY.EXT` with one KEY: one image (png, jpg,
webp), `cls` (a class number in ASCII) if labelled, one member a field (see `fields`) if the index lists any,
and `json`, whose crc32 binds image, label, fields and key.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.contracts import Field
from pipeline.data.archives.tars import BLOCK, BadTar, Header, headers, parse
from pipeline.data.shards.fields import members_of, sorted_out
from pipeline.errors import Damaged
from pipeline.images.codec import FORMATS
from pipeline.storage.faults import machine_explained, refusal

TRAILER = 2 * BLOCK
_EXTENSIONS = frozenset((*FORMATS, "cls", "json"))
_MOST_TRAILER, _MOST_MEMBER = 1 << 20, 1 << 30  # bytes


@contextmanager
def no_damage(mend: str = "restore it or make the data set again") -> Iterator[None]:
    """Turns Damaged into a UserError that says how to `mend` it, or into RunFailed where a machine could not
    read what may be whole."""
    try:
        yield
    except Damaged as damage:
        raise refusal(damage, f"{damage}; {mend}") from damage


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sample as it is stored. image: a file of the format `extension`. label: its class number, or None.
    fields: the member and the content of each, by name."""

    key: str
    image: bytes
    extension: str
    label: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where the samples of a shard lie: sample i has the bytes [starts[i], starts[i + 1]).

    fault: why the samples from len(starts) - 1 on cannot be read; None if all can.
    """

    starts: npt.NDArray[np.int64]
    fault: str | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1


def binding(
    key: str, image: bytes, label: int | str | None, members: Iterable[tuple[str, bytes]] = ()
) -> int:
    """The crc32 that ties an image to its key, its label and its fields' members, whatever their order."""
    text = f"{key}\0{'' if label is None else label}\0"
    checksum = zlib.crc32(image, zlib.crc32(text.encode()))
    for member, data in sorted(members):
        checksum = zlib.crc32(data, zlib.crc32(f"\0{member}\0{len(data)}\0".encode(), checksum))
    return checksum


def scan(path: Path, count: int, fields: Sequence[Field] = ()) -> Offsets:
    """The offsets of a shard that should hold `count` samples with these fields, from its tar headers alone.

    Never raises for damage: what comes before it can still be read. An OSError says nothing of the shard, and
    is the caller's.
    """
    starts: list[int] = []
    last_key, fault, end = None, None, 0
    try:
        with path.open("rb", buffering=0) as file:
            for key, start, stop in _members(file.fileno(), os.fstat(file.fileno()).st_size, fields):
                if key != last_key:
                    starts.append(start)
                    last_key = key
                end = stop
    except Damaged as damage:
        fault = f"{damage}{f', after key {last_key}' if last_key else ''}"
        # The sample before a cut may have lost members: its own check tells (see `take_apart`).
    if fault is None and len(starts) != count:
        fault = f"holds {len(starts)} samples, the index says {count}"
    return Offsets(np.array([*starts, end] if starts else [0], dtype=np.int64), fault)


def keys(path: Path, fields: Sequence[Field] = ()) -> list[str]:
    """The keys of a shard's samples, in order, from its tar headers. Errors: Damaged if it is not whole.
    fields: those that its samples have."""
    with machine_explained(path), path.open("rb", buffering=0) as file:
        members = _members(file.fileno(), os.fstat(file.fileno()).st_size, fields)
        return list(dict.fromkeys(key for key, _, _ in members))


def _members(descriptor: int, size: int, fields: Sequence[Field]) -> Iterator[tuple[str, int, int]]:
    """(key, first byte, byte after) of each member; Damaged unless the archive ends as it should."""
    at, allowed = 0, _allowed(fields)
    with _as_damage():
        for header in headers(descriptor, size):
            yield _member_name(header, allowed)[0], header.at, header.stop
            at = header.stop
    if not TRAILER <= size - at <= _MOST_TRAILER or os.pread(descriptor, size - at, at).strip(b"\0"):
        raise Damaged(f"has no whole end mark at byte {at}")


@contextmanager
def _as_damage() -> Iterator[None]:
    try:
        yield
    except BadTar as fault:
        raise Damaged(str(fault)) from fault


def _allowed(fields: Sequence[Field]) -> frozenset[str]:
    """What may follow the key in the name of a member."""
    return _EXTENSIONS.union(*(members_of(field) for field in fields)) if fields else _EXTENSIONS


def _member_name(header: Header, allowed: frozenset[str]) -> tuple[str, str]:
    """(key, extension) of a member; Damaged if it is of no kind that belongs into a shard."""
    if not header.regular:
        raise Damaged(f"holds a member {header.name!r:.80} that is not a plain file")
    key, _, extension = header.name.partition(".")
    if extension not in allowed or not key.isprintable():
        raise Damaged(f"holds a member {header.name!r:.80} of a kind that is not allowed")
    if header.size > _MOST_MEMBER:
        raise Damaged(f"holds a member {header.name!r:.80} of {header.size} bytes; at most {_MOST_MEMBER}")
    return key, extension


def take_apart(block: bytes, labelled: bool, fields: Sequence[Field] = ()) -> Encoded:
    """The sample whose members are the bytes `block`. Errors: Damaged unless it is whole, with its fields,
    and its crc32 binds it together."""
    key, parts, allowed = "", dict[str, bytes](), _allowed(fields)
    at = 0
    # The scan has checked these headers. What has changed on the disk since then shows in the crc32, which
    # binds image, label, fields and key: a label at another's image would be learnt, and nobody would notice.
    with _as_damage():
        while at < len(block):
            header = parse(block[at : at + BLOCK], at)
            key, extension = _member_name(header, allowed)
            parts[extension] = block[header.start : header.start + header.size]
            at = header.stop
    images = [extension for extension in FORMATS if extension in parts]
    if len(images) != 1:
        raise Damaged(f"key {key}: has {len(images)} images, must have one")
    label = _label(key, parts, labelled)
    contents = sorted_out(fields, parts)
    for one in fields:
        if one.name not in contents:
            raise Damaged(f"key {key}: must have one {members_of(one)[0]}")
    meta = _meta(key, parts)
    image = parts[images[0]]
    if meta.pop("crc32", None) != binding(key, image, label, contents.values()):
        raise Damaged(f"key {key}: image, label and key do not belong together (crc32 differs)")
    return Encoded(key, image, images[0], label, meta, contents)


def _label(key: str, parts: Mapping[str, bytes], labelled: bool) -> int | None:
    text = parts.get("cls")
    if text is None:
        if labelled:
            raise Damaged(f"key {key}: its label (.cls) is missing")
        return None
    if not text.isdigit() or len(text) > 9:
        raise Damaged(f"key {key}: its label (.cls) is not a class number")
    return int(text)


def _meta(key: str, parts: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        meta = json.loads(parts["json"])
    except KeyError as error:
        raise Damaged(f"key {key}: its .json is missing") from error
    except (ValueError, RecursionError) as error:
        raise Damaged(f"key {key}: its .json is not valid") from error
    if not isinstance(meta, dict):
        raise Damaged(f"key {key}: its .json is not an object")
    return meta
