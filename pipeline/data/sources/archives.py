"""Pictures in a zip or a tar. Nothing is unpacked to disk, and names that would leave it are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.data.shards.tars import BadTar, Header, is_tar, members
from pipeline.data.sources.opening import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    Sorter,
    is_hidden,
    within_limit,
)
from pipeline.data.sources.zips import BadZip, Entry, is_zip, read_directory, read_entry, read_start
from pipeline.errors import UserError
from pipeline.images.normalised import Unreadable
from pipeline.storage.faults import machine_explained

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def open_archive(path: Path) -> ZipSource | TarSource:
    """The pictures of a .zip or .tar, told apart by content."""
    try:
        with machine_explained(path), path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror})") from error
    if path.name.lower().endswith(_COMPRESSED) or start.startswith(_MAGIC):
        raise UserError(
            f"{path}: compressed archives are not read; unpack it first; allowed: folder, .zip, .tar"
        )
    if start.startswith(b"PK"):
        return ZipSource(path)
    if is_tar(path):
        return TarSource(path)
    if is_zip(path):  # behind the program that unpacks it
        return ZipSource(path)
    raise UserError(
        f"{path}: not an archive of a known kind; allowed: a folder, .zip, .tar, demo:digits, demo:faces"
    )


class ZipSource(FileSource):
    """All pictures in a zip archive; of members with one name the last one counts, as when unpacking."""

    def __init__(self, path: Path) -> None:
        self.title, self._path = path.name, path
        found: dict[str, Entry] = {}
        skipped: list[tuple[str, str]] = []
        sorter = Sorter()
        try:
            with machine_explained(path):
                directory = read_directory(path)
        except BadZip as fault:
            raise UserError(f"{path}: the zip archive {fault}") from fault
        except OSError as error:
            raise UserError(f"{path}: cannot read ({error.strerror})") from error
        for entry in directory.entries:
            name = entry.name
            _refuse_escape(path, name)
            if name.endswith("/") or is_hidden(name) or not sorter.is_picture(name, self._start(entry)):
                continue
            if name in found:
                skipped.append((name, "name occurs twice; the last one is taken"))
            found[name] = entry
        if directory.fault:
            skipped.append((path.name, f"the archive {directory.fault}; what comes before is taken"))
        names = sorted(found)
        self._entries = [found[name] for name in names]
        sizes = [entry.size for entry in self._entries]
        labels = sorter.label_file(names)
        self.listing = Listing(names, sizes, None, skipped, sorter.others, label_file=labels)

    def _bytes(self, number: int) -> bytes:
        try:
            with machine_explained(self._path):
                return within_limit(read_entry(self._path, self._entries[number], MOST_FILE_BYTES))
        except BadZip as fault:
            raise Unreadable(str(fault)) from fault
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from error

    def _start(self, entry: Entry) -> Callable[[int], bytes]:
        def read(count: int) -> bytes:
            try:
                with machine_explained(self._path):
                    return read_start(self._path, entry, count)
            except BadZip as fault:
                raise Unreadable(str(fault)) from fault

        return read


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    offset: int
    size: int


class TarSource(FileSource):
    """All pictures in a tar archive, plain or of WebDataset shape (KEY.png beside KEY.cls)."""

    def __init__(self, path: Path) -> None:
        self.title, self._path = path.name, path
        sorter = Sorter()
        pictures, self._classes, skipped = _list_tar(path, sorter)
        self._places = [pictures[name] for name in sorted(pictures)]
        names = [place.name for place in self._places]
        labels, fault = self._labels(names)
        self.listing = Listing(
            names,
            [place.size for place in self._places],
            labels,
            skipped,
            sorter.others,
            labels_fault=fault,
            label_file=sorter.label_file(names),
        )

    def _bytes(self, number: int) -> bytes:
        return within_limit(self._read(self._places[number]))

    def _read(self, place: _Place) -> bytes:
        if place.size > MOST_FILE_BYTES:
            raise Unreadable(f"larger than {MOST_FILE_BYTES} bytes")
        try:
            with machine_explained(self._path), self._path.open("rb") as file:
                file.seek(place.offset)
                data = file.read(place.size)
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from error
        if len(data) != place.size:
            raise Unreadable("the archive ends inside it")
        return data

    def _labels(self, names: list[str]) -> tuple[list[str] | None, str | None]:
        """(the class beside each picture or None, why that cannot be told)"""
        if not self._classes:
            return None, None
        labels = []
        for name in names:
            place = self._classes.get(_key(name))
            if place is None:
                return None, f"{self._path}: {name}: has no .cls while others have; add it"
            try:
                label = self._read(place)[:100].decode().strip()
            except (UnicodeDecodeError, Unreadable):
                label = ""
            if not label:
                return None, f"{self._path}: {place.name}: must be a class number or name"
            labels.append(label)
        return labels, None


def _list_tar(
    path: Path, sorter: Sorter
) -> tuple[dict[str, _Place], dict[str, _Place], list[tuple[str, str]]]:
    """(pictures by name, .cls members by key, skipped)"""
    pictures: dict[str, _Place] = {}
    classes: dict[str, _Place] = {}
    skipped: list[tuple[str, str]] = []
    try:
        with machine_explained(path), path.open("rb", buffering=0) as file:
            for member in members(file.fileno(), os.fstat(file.fileno()).st_size):
                _refuse_escape(path, member.name)
                name = member.name.removeprefix("./")
                if member.folder or is_hidden(name):
                    continue
                # Links and devices name things that are not in the archive.
                if not member.regular:
                    skipped.append((name, "is a link or a special file"))
                elif name.endswith(".cls"):
                    classes[_key(name)] = _Place(name, member.start, member.size)
                elif sorter.is_picture(name, partial(_part, file.fileno(), member)):
                    if name in pictures:
                        skipped.append((name, "name occurs twice; the last one is taken"))
                    pictures[name] = _Place(name, member.start, member.size)
    except BadTar as fault:
        skipped.append((path.name, f"the archive {fault}; what comes before is taken"))
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror})") from error
    return pictures, classes, skipped


def _part(descriptor: int, member: Header, count: int) -> bytes:
    return os.pread(descriptor, min(member.size, count), member.start)


def _key(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.split('.', 1)[0]}"


def _refuse_escape(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise UserError(f"{path}: member {name!r} points outside of the archive; such archives are refused")
