"""The rows of an index: shards, and the levels of a pyramid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline.data.shards.checked_json import Entries
from pipeline.data.stores.place import Place
from pipeline.errors import UserError

SHARD_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.tar$")
SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file: its name in the folder, the number of its samples, its size in bytes, and its sha256 in
    hex.

    Of a tar by others: places: the sha256 of what says where its samples lie (`shards.places`). left_out: how
    many of its samples cannot be used.
    """

    name: str
    count: int
    bytes: int
    sha256: str
    places: str = ""
    left_out: int = 0

    def as_json(self) -> dict[str, Any]:
        """Its entry in index.json."""
        entry = {"name": self.name, "count": self.count, "bytes": self.bytes, "sha256": self.sha256}
        return {**entry, "places": self.places, "left_out": self.left_out} if self.places else entry


@dataclass(frozen=True, slots=True)
class Level:
    """The same samples at a lower resolution: its pixels, and the digest of its own index."""

    height: int
    width: int
    digest: str


def parse_shards(rows: list[Any], where: Place, in_place: bool) -> tuple[Shard, ...]:
    """The shards that index.json at `where` lists. in_place: others have written them, and files of places
    say where their images lie. Errors: UserError, which names the entry."""
    shards = tuple(_parse_shard(row, where, number, in_place) for number, row in enumerate(rows))
    seen: set[str] = set()
    for shard in shards:
        if shard.name in seen:
            raise UserError(f"{where}: shards: {shard.name} is listed twice")
        seen.add(shard.name)
    return shards


def _parse_shard(row: Any, where: Place, number: int, in_place: bool) -> Shard:
    entries = Entries(row, where, f"shards[{number}].")
    name = entries.take("name", str)
    # A name is opened under root: anything but a plain file name could leave it.
    if not SHARD_NAME.match(name):
        raise UserError(f"{where}: shards[{number}].name: {name!r}; must be a plain file name ending in .tar")
    count, size = entries.take("count", int, low=1), entries.take("bytes", int, low=1024)
    sha256 = _take_sha256(entries, "sha256", f"{where}: shards[{number}].")
    if not in_place:
        return Shard(name, count, size, sha256)
    places = _take_sha256(entries, "places", f"{where}: shards[{number}].")
    return Shard(name, count, size, sha256, places, entries.take("left_out", int, low=0))


def _take_sha256(entries: Entries, key: str, prefix: str) -> str:
    value = entries.take(key, str)
    if not SHA256.match(value):
        raise UserError(f"{prefix}{key}: must be 64 hexadecimal digits")
    return value


def parse_levels(rows: Any, where: Place) -> tuple[Level, ...]:
    """The levels that index.json at `where` lists. Errors: UserError, which names the entry."""
    if not isinstance(rows, list):
        raise UserError(f"{where}: levels: must be list, not {rows!r:.40}")
    levels = []
    for number, row in enumerate(rows):
        entries = Entries(row, where, f"levels[{number}].")
        height, width = entries.take("height", int, low=1), entries.take("width", int, low=1)
        digest = _take_sha256(entries, "digest", f"{where}: levels[{number}].")
        levels.append(Level(height, width, digest))
    return tuple(levels)
