"""Pictures in an LMDB database: LSUN's, those of text recognition, and those with several resolutions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.data.sources.extra import needed
from pipeline.data.sources.holding import files_of, holds
from pipeline.data.sources.source import (
    FileSource,
    Listing,
    SourceKind,
    Wanted,
    reading_picture,
    reading_source,
    within_limit,
)
from pipeline.errors import UserError
from pipeline.images.kinds import KINDS, LMDB, START_BYTES
from pipeline.images.normalised import PLAIN, Unreadable
from pipeline.images.pixels import Reading
from pipeline.words import note, printable

_LOOKED_AT = 64  # values, to tell whether they are pictures
_MOST_LABEL_BYTES = 1000
_COUNTS = re.compile(r"length|num[-_]?samples|__(len|keys)__")
_LABEL = re.compile(r"label[-_](.+)")
_IMAGE = re.compile(r"image[-_](.+)")
_SIZED = re.compile(r"(\d{1,5})-\d{5,}")
_OTHERS = {
    re.compile(rb"\x80[\x02-\x05]"): "pickles, which can run code and are never read here",
    re.compile(rb"\x08[\x01-\x04]\x10[\x80-\xff]?[\0-\x7f]\x18"): "Caffe's datums, which hold bare pixels",
    re.compile(rb"\x93NUMPY"): "NumPy arrays",
}


class LmdbSource(FileSource):
    """The pictures in a database, named by their keys. It is checked whole before the library maps it, since
    that trusts what it finds."""

    def __init__(self, path: Path, side: int | None = None, reading: Reading = PLAIN) -> None:
        super().__init__(path.resolve().parent.name if path.name == "data.mdb" else path.name, reading)
        self._path = path
        with reading_source(path):
            _refuse_damage(path)
            with self._transaction() as transaction:
                found = _found(transaction, path)
        kept = _of_one_side(found.keys, side, path)
        names = [found.keys[number] for number in kept]
        labels, fault = found.labels_of(names, path)
        sizes = [found.sizes[number] for number in kept]
        self.listing = Listing(names, sizes, labels, labels_fault=fault, labels_from="label keys")

    def _bytes(self, number: int) -> bytes:
        with reading_picture(self._path), self._transaction() as transaction:
            return within_limit(bytes(transaction.get(_key(self.listing.names[number])) or b""))

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """The library lets a process open a database once, and one that was forked not at all if its parent
        has it open; so it is opened for each picture, which takes less time than one."""
        lmdb = needed("lmdb", str(self._path))
        try:
            with (
                lmdb.open(
                    str(self._path), subdir=False, readonly=True, lock=False, create=False, readahead=False
                ) as database,
                database.begin(buffers=True) as transaction,
            ):
                yield transaction
        except lmdb.Error as error:
            raise Unreadable(f"cannot be read from the database ({error})") from error


@dataclass
class _Found:
    """keys and sizes of the pictures, in the order of the keys. labels: by the end of a picture's key."""

    keys: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: dict[str, bytes] = field(default_factory=dict)

    def labels_of(self, names: Sequence[str], path: Path) -> tuple[list[str] | None, str | None]:
        """(the class of each picture or None, why that cannot be told)"""
        if not self.labels:
            return None, None
        classes = []
        for name in names:
            match = _IMAGE.fullmatch(name)
            text = self.labels.get(match[1], b"") if match else b""
            classes.append(text.decode(errors="replace").strip())
            if not classes[-1]:
                return None, f"{path}: {printable(name)}: has no label while others have"
        return classes, None


def _found(transaction: Any, path: Path) -> _Found:
    found = _Found()
    for key, value in transaction.cursor():
        name = bytes(key).decode("utf-8", "surrogateescape")
        label = _LABEL.fullmatch(name)
        if label is not None and len(value) <= _MOST_LABEL_BYTES:
            found.labels[label[1]] = bytes(value)
        elif not _COUNTS.fullmatch(name):
            if len(found.keys) < _LOOKED_AT:
                _refuse_other_values(name, bytes(value[:START_BYTES]), path)
            found.keys.append(name)
            found.sizes.append(len(value))
    return found


def _refuse_other_values(name: str, start: bytes, path: Path) -> None:
    if any(kind.begins(start) for kind in KINDS):
        return
    what = next((words for pattern, words in _OTHERS.items() if pattern.match(start)), "no encoded pictures")
    raise UserError(
        f"{path}: its values are {what} (key {printable(name)!r:.80}); allowed: databases whose values are "
        "PNG, JPEG, WebP or other picture files"
    )


def _of_one_side(keys: Sequence[str], side: int | None, path: Path) -> Sequence[int]:
    """The places of the pictures to take. Where keys are RESOLUTION-NUMBER, as stylegan2-pytorch has them:
    those of the least resolution that is not below `side`, else of the largest."""
    matches = [_SIZED.fullmatch(key) for key in keys]
    sides = {int(match[1]) for match in matches if match}
    if len(sides) < 2 or not all(matches):
        return range(len(keys))
    fitting = [one for one in sides if side is not None and one >= side]
    chosen = min(fitting) if fitting else max(sides)
    note(f"{path}: has pictures of {', '.join(map(str, sorted(sides)))} pixels; those of {chosen} are taken")
    return [place for place, match in enumerate(matches) if match and int(match[1]) == chosen]


def _refuse_damage(path: Path) -> None:
    """UserError if a file is no whole database."""
    verifier = needed("lmdb.verify", str(path))
    try:
        faults = verifier.verify(str(path), False)
    except verifier.VerifyError as error:
        raise UserError(f"{path}: is no LMDB database that can be read ({error})") from error
    if faults:
        raise UserError(f"{path}: the database is damaged ({faults[0]}; {len(faults)} faults in all)")


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _open(source: str, wanted: Wanted) -> LmdbSource:
    path = Path(source)
    if path.is_dir():
        files = [name for name in files_of(path, LMDB, wanted.follow_links) if not name.endswith("lock.mdb")]
        if len(files) != 1:
            names = f"holds several databases ({', '.join(files[:4])})" if files else "holds no database"
            raise UserError(f"{path}: {names}; give one of them as SOURCE")
        path /= files[0]
    return LmdbSource(path, wanted.side, wanted.reading)


KIND = SourceKind("LMDB", lambda source: holds(Path(source), LMDB), _open)
