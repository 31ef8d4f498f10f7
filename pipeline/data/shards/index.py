"""The index of a folder of shards: what is there, how it was made, and whether it is whole.

The index is the truth about a data set: readers believe it, and call what differs from it damage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import dropwhile
from pathlib import Path
from typing import Any, Literal

from pipeline.contracts import Field, ImageSpec
from pipeline.data.shards.checked_json import Entries
from pipeline.data.shards.fields import fields_as_json, parse_fields
from pipeline.data.shards.latents import Latents, parse_latents
from pipeline.data.shards.rows import Level, Shard, parse_levels, parse_shards
from pipeline.data.stores.patience import Absent
from pipeline.data.stores.place import Place, Remote, place_of
from pipeline.data.stores.systems import read_store, sizes_in
from pipeline.errors import Damaged, UserError
from pipeline.images.codec import MODES
from pipeline.reading import parse_json, read_json
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.faults import machine_explained, refusal
from pipeline.versions import Stored
from pipeline.words import note

INDEX_NAME = "index.json"
FORMAT = "hrgan-shards"
VERSION, VERSION_WITH_FIELDS, VERSION_IN_PLACE = 1, 2, 3
"""The first two stay in use where there is nothing that needs a later one, so that such an index keeps its
bytes and its digest."""

VERSIONS = Stored(
    VERSION_IN_PLACE,
    {
        VERSION: lambda content: {**content, "fields": []},
        VERSION_WITH_FIELDS: lambda content: {**content, "data_root": ""},
    },
    key="version",
)
_MOST_BYTES = 1 << 30  # a million shards are 200 MB
_LARGEST = 1 << 16  # pixels a side


@dataclass(frozen=True)
class ShardIndex:
    """A whole data set: `root`, on disk or in a store, holds the shards; the rest says what is in them.

    height, width: pixels of every image. channels: 1 (grey), 3 (RGB) or 4 (RGBA). classes: names by class
    number, () if unlabelled. origin: how it was made, as JSON (source, crop, filter, seed, ...).
    complete: false while a writer is still at it. levels: of the pyramid, if there is one, largest first.
    fields: what every sample has beside image and label. data_root: of shards that others have written and
    that are read where they lie, their folder, relative to `root`; "" for our own, which lie in `root`.
    latents: what is known of the latents among the fields, if a codec has made some.
    """

    root: Place
    shards: tuple[Shard, ...]
    height: int
    width: int
    channels: int
    classes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    levels: tuple[Level, ...] = ()
    fields: tuple[Field, ...] = ()
    data_root: str = ""
    latents: Latents | None = None

    @property
    def shards_root(self) -> Place:
        """Where the shards lie."""
        return self.root / self.data_root if self.data_root else self.root

    @property
    def folder(self) -> Path:
        """The root of a data set on disk, to which something is to be written. Errors: UserError for one in a
        store."""
        if isinstance(self.root, Remote):
            raise UserError(
                f"{self.root}: a data set in a store is only read; copy it to a folder on disk for what is "
                "written beside its shards"
            )
        return self.root

    @property
    def where(self) -> str:
        """The root in full, as files keep it."""
        return str(self.root if isinstance(self.root, Remote) else self.root.resolve())

    @property
    def count(self) -> int:
        """The number of samples in all shards."""
        return sum(shard.count for shard in self.shards)

    @cached_property
    def spec(self) -> ImageSpec:
        """What the shape of a network depends on."""
        return ImageSpec(self.height, self.width, self.channels, len(self.classes), self.fields)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the index's content, in hex: equal for equal data sets, wherever they lie.

        Levels are left out: they follow from the rest, and a run must go on after they were added. So is the
        folder of others' shards.
        """
        content = {k: value for k, value in self.as_json().items() if k not in ("levels", "data_root")}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The content of index.json."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": self._version,
            "complete": self.complete,
            "count": self.count,
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "classes": list(self.classes),
            "origin": dict(self.origin),
            "shards": [shard.as_json() for shard in self.shards],
        }
        if self._version > VERSION:
            content["fields"] = fields_as_json(self.fields)
        if self.data_root:
            content["data_root"] = self.data_root
        if self.latents is not None:
            content["latents"] = self.latents.as_json()
        if self.levels:
            content["levels"] = [
                {"height": level.height, "width": level.width, "digest": level.digest}
                for level in self.levels
            ]
        return content

    @property
    def _version(self) -> int:
        if self.data_root:
            return VERSION_IN_PLACE
        return VERSION_WITH_FIELDS if self.fields else VERSION

    def write(self) -> None:
        """Publishes index.json: whole or not at all."""
        publish_bytes(self.folder / INDEX_NAME, (json.dumps(self.as_json(), indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: str | Place, *, damaged: Literal["error", "skip"] = "error") -> ShardIndex:
        """The index at `path`, a folder of shards or its index.json, on disk or in a store.

        damaged: "skip" leaves missing and short shards to the loader (`data.on_damage: skip`).
        Raises UserError if there is none, if it is not valid or not complete, or if a shard is not as
        it says.
        """
        index = read_unfinished(path)
        where = index.root / INDEX_NAME
        if not index.complete:
            after = f" after {index.count} samples" if index.count else ""
            raise UserError(
                f"{where}: not complete, its writer was interrupted{after}; "
                "run the same command again to finish it"
            )
        if not index.count:
            raise UserError(f"{where}: shards: holds no samples; at least one is needed")
        if damaged == "error":
            index.check_sizes()
        return index

    def check_sizes(self) -> None:
        """Raises UserError, which names the first shard that is missing or has another size."""
        root = self.shards_root
        if isinstance(root, Remote):
            _check_sizes(root, self.shards)
            return
        for shard in self.shards:
            check_size(root, shard)
            places = places_path(self.folder, shard.name)
            if shard.places and not places.is_file():
                raise UserError(f"{places}: missing; {INDEX_NAME} needs it to find {shard.name}'s images")


def places_path(root: Path, shard: str) -> Path:
    """The file of places (`shards.places`) for a shard by others, in the folder of the index."""
    return root / f"{shard.removesuffix('.tar')}.places"


def _check_sizes(root: Remote, shards: tuple[Shard, ...]) -> None:
    sizes = sizes_in(root, [shard.name for shard in shards])
    for shard in shards:
        path = root / shard.name
        if shard.name not in sizes:
            raise UserError(f"{path}: shard missing; {INDEX_NAME} lists it with {shard.count} samples")
        if sizes[shard.name] not in (shard.bytes, None):  # a server need not say
            raise _size_differs(path, sizes[shard.name], shard)


def check_size(root: Path, shard: Shard) -> None:
    """Raises UserError unless the shard's file is there and has its size."""
    path = root / shard.name
    try:
        with machine_explained(path):
            size = path.stat().st_size
    except OSError as error:
        raise UserError(
            f"{path}: shard missing or unreadable ({error.strerror}); {INDEX_NAME} lists it with "
            f"{shard.count} samples"
        ) from error
    if size != shard.bytes:
        raise _size_differs(path, size, shard)


def _size_differs(path: Place, size: int | None, shard: Shard) -> UserError:
    return UserError(f"{path}: shard damaged: has {size} bytes, {INDEX_NAME} says {shard.bytes}")


def read_unfinished(path: str | Place) -> ShardIndex:
    """The index at `path`, whether complete or not. It is valid in itself; the shards are not looked at."""
    where = locate(path)
    try:
        return _parse(_content(where), where)
    except FileNotFoundError as error:
        raise UserError(f"{where}: {error.strerror}") from error
    except Absent as absent:
        raise UserError(
            f"{where}: no such index; give the URL of a folder of shards with its {INDEX_NAME}"
        ) from absent
    except Damaged as damage:
        raise refusal(damage, f"{damage}; restore it or make the data set again") from damage


def _content(where: Place) -> Any:
    if isinstance(where, Path):
        return read_json(where, _MOST_BYTES)
    try:
        text = read_store(where, _MOST_BYTES, note).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Damaged(f"{where}: not text in UTF-8") from error
    return parse_json(text, str(where))


def locate(path: str | Place) -> Place:
    """The index.json that `path` (folder or file) means."""
    where = place_of(path)
    if isinstance(where, Remote):
        return where if where.name.lower().endswith(".json") else where / INDEX_NAME
    if where.is_dir():
        where = where / INDEX_NAME
    if not where.is_file():
        raise UserError(
            f"{where}: no such index; give a folder of shards with its {INDEX_NAME}, "
            "as `hrgan prepare SOURCE OUT` makes it"
        )
    if where.suffix.lower() not in ("", ".json"):
        inside = (where.parent / INDEX_NAME).is_file()
        mend = f"its folder, {where.parent}" if inside else f"OUT of `hrgan prepare {where} OUT`"
        raise UserError(f"{where}: a file, not a data set of shards; give {mend}")
    return where


def _parse(content: Any, where: Place) -> ShardIndex:
    entries = Entries(content, where, "")
    if entries.take("format", str) != FORMAT:
        raise UserError(f"{where}: format: not one this version reads; it reads {FORMAT}")
    content = VERSIONS.current(content, str(where))
    height, width = (entries.take(side, int, low=1, high=_LARGEST) for side in ("height", "width"))
    fields = parse_fields(content.get("fields"), where)
    index = ShardIndex(
        root=where.parent,
        shards=parse_shards(entries.take("shards", list), where, bool(content.get("data_root"))),
        height=height,
        width=width,
        channels=entries.take("channels", int, low=1),
        classes=tuple(entries.take("classes", list)),
        origin=entries.take("origin", dict),
        complete=entries.take("complete", bool),
        levels=parse_levels(content.get("levels", []), where),
        fields=fields,
        data_root=_parse_data_root(content.get("data_root"), where),
        latents=parse_latents(content.get("latents"), height, width, fields, where),
    )
    if index.channels not in MODES:
        raise UserError(f"{where}: channels: {index.channels}; allowed: 1 (grey), 3 (RGB), 4 (RGBA)")
    if not all(isinstance(name, str) for name in index.classes):
        raise UserError(f"{where}: classes: must be a list of names")
    if entries.take("count", int) != index.count:
        raise UserError(f"{where}: count: differs from the sum over its shards, {index.count}")
    return index


def _parse_data_root(value: Any, where: Place) -> str:
    parts = value.split("/") if isinstance(value, str) else [""]
    # Upwards at its beginning only, and never from the root of the disk.
    down = list(dropwhile(lambda part: part == "..", parts))
    if value != "" and (not set(down).isdisjoint(("..", "")) or "\0" in value):
        raise UserError(f"{where}: data_root: {value!r:.80}; must be a folder, relative to that of the index")
    if value and isinstance(where, Remote):
        raise UserError(f"{where}: data_root: shards that others wrote are read in place from a disk alone")
    return str(value)
