"""Where the images of others' shards lie, so that they are read in place: a small file beside the index for
each shard, `NAME.places`.

It is one .npy array (numpy.load reads it) with a row a sample: offset and bytes of the image in the tar, the
crc32 that binds the image to its name and class, its format, the name of its member, and its class as text.
The index has the file's sha256, so that no row can change unnoticed.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.data.shards.arrays import pack, stored_type, unpack
from pipeline.data.shards.index import ShardIndex, places_path
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import Encoded, binding
from pipeline.errors import Damaged
from pipeline.images.codec import FORMATS
from pipeline.reading import read_bytes

_MOST_BYTES = 1 << 30  # of a file of places
_MOST_HELD = 64 << 20  # bytes of places that stay in memory

Table = npt.NDArray[Any]
"""[N] rows with the fields of `Place`."""


class Place(NamedTuple):
    """Where an image lies in its tar, and what it is. crc32: see `checksum`. label: "" for none."""

    offset: int
    bytes: int
    crc32: int
    format: str
    name: str
    label: str


def checksum(name: str, image: bytes, label: str) -> int:
    """The crc32 that ties an image to the name of its member and to its class."""
    return binding(name, image, label)


def pack_places(places: Iterable[Place]) -> bytes:
    """The content of a file of places, of which there is at least one; equal places give equal bytes."""
    rows = [(*p[:3], p.format.encode(), p.name.encode(), p.label.encode()) for p in places]
    widths = (max(len(row[4]) for row in rows), max(len(row[5]) for row in rows))
    return pack(np.array(rows, dtype=_type(*widths)))


def read_places(root: Path, shard: Shard) -> Table:
    """The places of a shard. Errors: Damaged, which names the file, unless it is as the index says. An
    OSError says nothing of the places, and is the caller's."""
    path = places_path(root, shard.name)
    try:
        data = read_bytes(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise Damaged(f"{path}: missing") from error
    except Damaged as damage:
        if isinstance(damage.__cause__, OSError):
            raise damage.__cause__ from damage
        raise
    if hashlib.sha256(data).hexdigest() != shard.places:
        raise Damaged(f"{path}: its sha256 is not as the index says")
    try:
        return _checked(parse_places(data), shard)
    except Damaged as damage:
        raise Damaged(f"{path}: {damage}") from damage


def parse_places(data: bytes) -> Table:
    """The places in a file's content. Errors: Damaged if it is none."""
    stored, rows = stored_type(data)
    names = stored.names or ()
    widths = [stored[name].itemsize for name in ("name", "label") if name in names]
    if len(widths) != 2 or stored != _type(*widths):
        raise Damaged(f"holds {stored!s:.80}, which are no places")
    return unpack(data, rows, stored)


def place_in(table: Table, member: int) -> Place:
    """The place of a sample by its number in the shard."""
    offset, size, crc32, format, name, label = table[member].item()
    return Place(offset, size, crc32, format.decode(), name.decode(), label.decode())


def key_of(shard: int, member: int) -> str:
    """The key of a sample of others' shards: theirs may occur in several shards, and hold any letters."""
    return f"{shard:05d}-{member:06d}"


def _type(name_bytes: int, label_bytes: int) -> np.dtype[Any]:
    text = [("format", "S4"), ("name", f"S{max(name_bytes, 1)}"), ("label", f"S{max(label_bytes, 1)}")]
    return np.dtype([("offset", "<i8"), ("bytes", "<i8"), ("crc32", "<u4"), *text])


def _checked(table: Table, shard: Shard) -> Table:
    if table.shape != (shard.count,):
        raise Damaged(f"has the shape {list(table.shape)}, the index says {shard.count} samples")
    offsets, sizes = table["offset"], table["bytes"]
    room = shard.bytes - offsets  # a sum of two large numbers would wrap around
    if not ((offsets >= 0) & (room >= 0) & (sizes > 0) & (sizes <= room)).all():
        raise Damaged(f"names bytes beyond the {shard.bytes} of the shard")
    if not np.isin(table["format"], [name.encode() for name in FORMATS]).all():
        raise Damaged("names a format that is not read")
    return table


class PlacedShards:
    """The samples of an index whose shards lie elsewhere. The places of recent shards stay in memory."""

    def __init__(self, index: ShardIndex) -> None:
        self._index = index
        self._numbers = {name: number for number, name in enumerate(index.classes)}
        self._tables: OrderedDict[int, Table] = OrderedDict()
        self._held = 0  # bytes

    def take(self, shard: int, member: int, descriptor: int) -> Encoded:
        """A sample of shard number `shard`, which is open as `descriptor`. Errors: Damaged unless its bytes
        are those that were there when the index was made."""
        place = place_in(self._table(shard), member)
        image = os.pread(descriptor, place.bytes, place.offset)
        if len(image) != place.bytes:
            raise Damaged(f"{place.name}: the shard is shorter than when it was indexed")
        if checksum(place.name, image, place.label) != place.crc32:
            raise Damaged(f"{place.name}: image, label and name do not belong together (crc32 differs)")
        label = self._label(place)
        return Encoded(key_of(shard, member), image, place.format, label, {"source": place.name})

    def _label(self, place: Place) -> int | None:
        if not self._numbers:
            return None
        if place.label not in self._numbers:
            raise Damaged(f"{place.name}: class {place.label!r} is not in the index")
        return self._numbers[place.label]

    def _table(self, shard: int) -> Table:
        if shard not in self._tables:
            table = self._tables[shard] = read_places(self._index.folder, self._index.shards[shard])
            self._held += table.nbytes
            while self._held > _MOST_HELD and len(self._tables) > 1:
                self._held -= self._tables.popitem(last=False)[1].nbytes
        self._tables.move_to_end(shard)
        return self._tables[shard]
