"""Pictures in a tar archive. Nothing is unpacked to disk, and names that would leave it are refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.data.archives.tars import BadTar, Header, is_tar, members
from pipeline.data.sources.sorting import Sorter
from pipeline.data.sources.source import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    SourceKind,
    is_hidden,
    reading_picture,
    reading_source,
    refuse_escape,
    within_limit,
)
from pipeline.images.normalised import PLAIN, Unreadable
from pipeline.images.pixels import Reading


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    offset: int
    size: int


class TarSource(FileSource):
    """All pictures in a tar archive, plain or of WebDataset shape (KEY.png beside KEY.cls)."""

    def __init__(self, path: Path, reading: Reading = PLAIN) -> None:
        super().__init__(path.name, reading)
        self._path = path
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
        with reading_picture(self._path), self._path.open("rb") as file:
            file.seek(place.offset)
            data = file.read(place.size)
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
        with reading_source(path), path.open("rb", buffering=0) as file:
            for member in members(file.fileno(), os.fstat(file.fileno()).st_size):
                refuse_escape(path, member.name)
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
    except BadTar as fault:  # what was listed before it is whole
        skipped.append((path.name, f"the archive {fault}; what comes before is taken"))
    return pictures, classes, skipped


def _part(descriptor: int, member: Header, count: int) -> bytes:
    return os.pread(descriptor, min(member.size, count), member.start)


def _key(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.split('.', 1)[0]}"


def _fits(source: str) -> bool:
    path = Path(source)
    if not path.is_file():
        return False
    with reading_source(path):
        return is_tar(path)


KIND = SourceKind(".tar", _fits, lambda source, wanted: TarSource(Path(source), wanted.reading))
