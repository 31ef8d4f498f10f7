"""Pictures in tar archives. Nothing is unpacked to disk, and names that would leave it are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.data.archives.tars import BadTar, Header, is_tar, members
from pipeline.data.sources.samples import Beside, Place, key_of
from pipeline.data.sources.sorting import TABLES, Sorter
from pipeline.data.sources.source import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    Picture,
    SourceKind,
    Wanted,
    is_hidden,
    reading_picture,
    reading_source,
    refuse_escape,
    within_limit,
)
from pipeline.images import kinds
from pipeline.images.normalised import Unreadable

_SYNSET = re.compile(r"n\d{8}\.tar/")
_NO_CLASSES = "no .cls beside the pictures; --label-column KEY takes a key of their .json"


class TarSource(FileSource):
    """All pictures in tar archives, plain or of WebDataset's shape (KEY.png beside KEY.cls).

    archives: by what the names of their members begin with. Of several, a sample with a plain KEY.jpg has no
    other picture: what else has its key, such as KEY.mask.png, is left alone.
    """

    def __init__(self, archives: Mapping[str, Path], title: str, wanted: Wanted) -> None:
        super().__init__(title, wanted.reading)
        several = list(archives) != [""]
        self._beside = Beside(wanted.label_column, wanted.caption_column, _read)
        found = _Found(self._beside)
        for prefix, path in archives.items():
            if _is_archive(path):
                found.list_archive(path, prefix)
            else:
                found.skipped.append((path.name, "is no tar archive"))
        if several:
            found.keep_one_a_sample()
        names = list(found.sorter.pictures(sorted(found.pictures)))
        self._places = [found.pictures[name] for name in names]
        labels, fault = self._beside.labels(names, title)
        fields, depends = self._beside.captions(names, title)
        column = None if labels is None else wanted.label_column
        where = _NO_CLASSES if labels is None else f"the samples' {column}" if column else ""
        asked = wanted.label_column is not None or fault is not None
        if labels is None and not asked and several and all(map(_SYNSET.fullmatch, archives)):
            # ImageNet's training pictures come as an archive a class.
            labels, where = [name.split(".tar/", 1)[0] for name in names], "the archives' names"
        self.listing = Listing(
            names,
            [place.size for place in self._places],
            labels,
            [*found.skipped, *self._beside.alone(names)],
            found.sorter.others,
            labels_fault=fault,
            label_file=found.sorter.label_file(names),
            tables=found.sorter.tables(names),
            fields=fields,
            labels_from=where,
            label_column=column,
            in_folders=not several,
            depends=depends,
        )

    def picture(self, number: int) -> Picture:
        picture = super().picture(number)
        if not self._beside.has_captions:
            return picture
        return replace(picture, extra={"text": self._beside.caption(self._places[number].name)})

    def _bytes(self, number: int) -> bytes:
        return within_limit(_read(self._places[number]))


def _read(place: Place) -> bytes:
    if place.size > MOST_FILE_BYTES:
        raise Unreadable(f"larger than {MOST_FILE_BYTES} bytes")
    with reading_picture(place.path), place.path.open("rb") as file:
        file.seek(place.offset)
        data = file.read(place.size)
    if len(data) != place.size:
        raise Unreadable("the archive ends inside it")
    return data


class _Found:
    """What archives hold: pictures by name, and what cannot be used."""

    def __init__(self, beside: Beside) -> None:
        self.pictures: dict[str, Place] = {}
        self.skipped: list[tuple[str, str]] = []
        self.sorter = Sorter()
        self._beside = beside

    def list_archive(self, path: Path, prefix: str) -> None:
        try:
            with reading_source(path), path.open("rb", buffering=0) as file:
                for member in members(file.fileno(), os.fstat(file.fileno()).st_size):
                    refuse_escape(path, member.name)
                    name = member.name.removeprefix("./")
                    if not member.folder and not is_hidden(name):
                        self._take(
                            member, Place(path, prefix + name, member.start, member.size), file.fileno()
                        )
        except BadTar as fault:  # what was listed before it is whole
            self.skipped.append((path.name, f"the archive {fault}; what comes before is taken"))

    def _take(self, member: Header, place: Place, descriptor: int) -> None:
        # Links and devices name things that are not in the archive.
        if not member.regular:
            self.skipped.append((place.name, "is a link or a special file"))
        elif place.name.rpartition("/")[2] not in TABLES and self._beside.take(place):
            return
        elif self.sorter.is_picture(place.name, partial(_part, descriptor, member)):
            if place.name in self.pictures:
                self.skipped.append((place.name, "name occurs twice; the last one is taken"))
            self.pictures[place.name] = place

    def keep_one_a_sample(self) -> None:
        """Leaves one picture of each sample that has a plain one, KEY.jpg."""
        plain: dict[str, str] = {}
        for name in sorted(self.pictures):
            if _is_plain(name) and plain.setdefault(key_of(name), name) != name:
                self.skipped.append(
                    (name, f"is a second image of its sample; {plain[key_of(name)]} is taken")
                )
                del self.pictures[name]
        for name in [name for name in self.pictures if not _is_plain(name) and key_of(name) in plain]:
            del self.pictures[name]
            self.sorter.others.add(name)


def _is_plain(name: str) -> bool:
    """Whether a name is a key and the suffix of a picture."""
    return "." + name.rpartition("/")[2].partition(".")[2].lower() in kinds.SUFFIXES


def _part(descriptor: int, member: Header, count: int) -> bytes:
    return os.pread(descriptor, min(member.size, count), member.start)


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with reading_source(path):
        return is_tar(path)


KIND = SourceKind(
    ".tar",
    lambda source: _is_archive(Path(source)),
    lambda source, wanted: TarSource({"": Path(source)}, Path(source).name, wanted),
)
