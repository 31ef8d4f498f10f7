"""Writing shards: each appears whole under its name, then in the index; a kill loses one shard at most."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from webdataset.writer import TarWriter

from pipeline.contracts import Field
from pipeline.data.shards.decode import decode_field
from pipeline.data.shards.fields import check_fields, member_for
from pipeline.data.shards.index import INDEX_NAME, ShardIndex, read_unfinished
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.samples import binding
from pipeline.errors import Damaged, UserError
from pipeline.images.codec import FORMATS
from pipeline.storage.atomic import fsync_folder, is_aside
from pipeline.storage.faults import explained
from pipeline.storage.lock import only_writer

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$")
# Letters that every file system and webdataset's split at the first dot leave alone.
_KEY = re.compile(r"^[A-Za-z0-9_-]{1,90}$")
_LONGEST_NAME = 99  # what a plain tar header holds


class ShardSink:
    """Writes a data set of shards `NAME-00000.tar`, ... and its index into `root`.

    height, width, channels: of every image. classes: names by class number. fields: what every sample has
    besides. origin: how the data set is made, as JSON; an interrupted run is continued if it has the same.
    shard_size: samples a shard.
    The bytes written depend on these and on the samples alone. Leaving the context by an exception
    keeps the finished shards and an index marked incomplete; leaving it normally completes the index.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str,
        height: int,
        width: int,
        channels: int,
        classes: Sequence[str] = (),
        fields: Sequence[Field] = (),
        origin: Mapping[str, Any] | None = None,
        shard_size: int = 1000,
    ) -> None:
        if not _NAME.match(name):
            raise UserError(f"{name!r}: name of shards: letters, digits, - and _ are allowed")
        if shard_size < 1:
            raise UserError(f"shard_size: {shard_size}; must be at least 1 sample")
        self._root, self._name, self._shard_size = Path(root), name, shard_size
        settings = {**(origin or {}), "shard_size": shard_size, "shard_name": name}
        try:
            check_fields(fields)
        except UserError as error:
            raise UserError(f"fields{error}") from error
        self._index = ShardIndex(
            self._root,
            (),
            height,
            width,
            channels,
            tuple(classes),
            json.loads(json.dumps(settings)),
            complete=False,
            fields=tuple(fields),
        )
        self._writer: ShardWriter | None = None
        self._last_key = ""
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(only_writer(self._root))
        try:
            self._resume()
        except BaseException:
            self._lock.close()
            raise

    @property
    def finished(self) -> int:
        """How many samples are durable, in whole shards: an interrupted run goes on behind them."""
        return self._index.count

    @property
    def index(self) -> ShardIndex:
        """The index of what is durable so far."""
        return self._index

    @property
    def complete(self) -> bool:
        """Whether the data set is finished, so that nothing can be added."""
        return self._index.complete

    def write(
        self,
        key: str,
        image: bytes,
        extension: str,
        label: int | None = None,
        meta: Mapping[str, Any] | None = None,
        extra: Mapping[str, bytes] | None = None,
    ) -> None:
        """Adds a sample. key: unique. image: a whole file of kind `extension` (png, jpg, webp).

        label: class number, given if and only if the data set has classes. meta: JSON kept beside it. extra:
        the content of each field of the data set, encoded (a whole picture, UTF-8, a .npy file).
        """
        self._check(key, extension, label)
        members = checked_members(self._index.fields, key, extra or {})
        if self._writer is None:
            self._writer = ShardWriter(self._root / f"{self._name}-{len(self._index.shards):05d}.tar")
        self._writer.add(key, image, extension, label, meta or {}, members)
        self._last_key = key
        if self._writer.count == self._shard_size:
            self._finish_shard()

    def cut(self) -> None:
        """Ends the current shard, though it may hold fewer samples than `shard_size`."""
        self._finish_shard()

    def close(self) -> None:
        """Writes the last shard and the complete index."""
        if not self._index.complete:
            self._finish_shard()
            if not self._index.count:
                raise UserError(f"{self._root}: no samples were written; a data set needs at least one")
            self._publish(complete=True)
        self._lock.close()

    def __enter__(self) -> ShardSink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
            elif self._writer is not None:
                self._writer.abandon()
                self._writer = None
        finally:
            self._lock.close()

    def _check(self, key: str, extension: str, label: int | None) -> None:
        if self._index.complete:
            raise ValueError(f"{self._root}: the data set is complete; key {key} cannot be added")
        if not _KEY.match(key) or key == self._last_key:
            raise ValueError(f"key {key!r}: must be new, 1 to 90 of letters, digits, - and _")
        if extension not in FORMATS:
            raise ValueError(f"key {key}: extension {extension!r}; allowed: {', '.join(FORMATS)}")
        classes = len(self._index.classes)
        if (label is not None) != bool(classes) or not (label is None or 0 <= label < classes):
            raise ValueError(f"key {key}: label {label!r} does not fit {classes} classes")

    def _finish_shard(self) -> None:
        if self._writer is not None:
            shard = self._writer.publish()
            self._writer = None
            self._publish(complete=False, shards=(*self._index.shards, shard))

    def _publish(self, *, complete: bool, shards: tuple[Shard, ...] | None = None) -> None:
        old = self._index
        self._index = replace(old, shards=old.shards if shards is None else shards, complete=complete)
        self._index.write()

    def _resume(self) -> None:
        for path in self._root.iterdir():
            if path.name.endswith(".tar.partial") or is_aside(path.name, INDEX_NAME):
                path.unlink()
        if not (self._root / INDEX_NAME).exists():
            self._refuse_strangers()
            return
        unfinished = read_unfinished(self._root)
        different = differences(self._index, unfinished)
        if different:
            raise UserError(
                f"{self._root}: holds another data set ({'; '.join(different)}); "
                "give an empty folder, or repeat the settings it was made with"
            )
        self._index = unfinished

    def _refuse_strangers(self) -> None:
        first = f"{self._name}-00000.tar"  # renamed into place just before a kill, not yet in an index
        for path in sorted(self._root.iterdir()):
            if path.name not in (first, ".lock"):
                raise UserError(f"{self._root}: not empty (holds {path.name}); give a new or empty folder")


def checked_members(fields: Sequence[Field], key: str, extra: Mapping[str, bytes]) -> dict[str, bytes]:
    """The content of each field of the sample `key`, by its member; ValueError unless all can be read."""
    names = [field.name for field in fields]
    if set(names) != extra.keys():
        raise ValueError(f"key {key!r}: fields {sorted(extra)}, must be {sorted(names)}")
    members = {}
    for field in fields:
        data = extra[field.name]
        try:
            decode_field(field, data)  # what is written can be read
        except Damaged as damage:
            raise ValueError(f"key {key!r}: field {field.name}: {damage}") from damage
        members[member_for(field, data)] = data
    if any(len(key) + 1 + len(member) > _LONGEST_NAME for member in members):
        raise ValueError(f"key {key!r}: with a field's name longer than {_LONGEST_NAME} letters")
    return members


def differences(asked: ShardIndex, found: ShardIndex) -> list[str]:
    """The settings in which a data set that exists differs from the one that is asked for, as a person reads
    them."""
    ours, theirs = asked.as_json(), found.as_json()
    shown = ("height", "width", "channels", "classes", "fields")
    pairs = [(key, theirs.get(key, []), ours.get(key, [])) for key in shown]
    names = sorted({*ours["origin"], *theirs["origin"]})
    pairs += [(key, theirs["origin"].get(key), ours["origin"].get(key)) for key in names]
    words = [f"{key}: {had!r:.40} there, {asks!r:.40} asked" for key, had, asks in pairs if had != asks]
    if len(words) == 1 and words[0].startswith("listing: "):
        return ["its pictures' sizes or classes differ"]
    return [word for word in words if not word.startswith("listing: ")]  # a hash tells a person nothing


class ShardWriter:
    """One shard in the making, under a name that no reader looks at until it is published at `path`."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path, self._root = path, path.parent
        self._partial = path.with_name(path.name + ".partial")
        with explained(path):
            self._file = _Hashing(self._partial.open("wb"))
        # mtime, owner and group fixed: the same samples give the same bytes.
        self._tar = TarWriter(self._file, user="", group="", mtime=0, encoder=False)

    def add(
        self,
        key: str,
        image: bytes,
        extension: str,
        label: int | None,
        meta: Mapping[str, Any],
        members: Mapping[str, bytes] | None = None,
    ) -> None:
        """Adds a sample, which a checksum binds together (see `binding`). members: those of its fields, by
        name."""
        extra = dict(members or {})
        about = {**meta, "crc32": binding(key, image, label, extra.items())}
        sample: dict[str, Any] = {"__key__": key, extension: image, **extra}
        sample["json"] = json.dumps(about, sort_keys=True).encode()
        if label is not None:
            sample["cls"] = str(label).encode()
        with explained(self._path):
            self._tar.write(sample)
        self.count += 1

    def publish(self) -> Shard:
        """Makes the shard durable under its name."""
        with explained(self._path):
            # The end mark, then the disk, then the name: after a power loss, an index that lists the shard
            # must find all of it.
            self._tar.close()
            self._file.sync()
            os.replace(self._partial, self._path)
            fsync_folder(self._root)
        return Shard(self._path.name, self.count, self._file.size, self._file.digest())

    def abandon(self) -> None:
        """Removes what has been written."""
        with contextlib.suppress(OSError):  # a full disk is often why; what matters is that it goes
            self._tar.close()
        self._file.close()
        self._partial.unlink(missing_ok=True)


class _Hashing:
    """A file that knows the size and the sha256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def digest(self) -> str:
        return self._hash.hexdigest()

    def sync(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
