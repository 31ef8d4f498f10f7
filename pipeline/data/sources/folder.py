"""Pictures in a folder tree."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from pathlib import Path

from pipeline.data.sources.sorting import Sorter
from pipeline.data.sources.source import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    SourceKind,
    reading_picture,
    within_limit,
)
from pipeline.images import kinds
from pipeline.images.normalised import PLAIN
from pipeline.images.pixels import Reading

_NOT_FOLLOWED = "which is not followed; --follow-links follows it"


class FolderSource(FileSource):
    """All pictures in a folder and the folders below it. Hidden files are left alone.

    follow_links: links to folders, and links that lead out of the folder, are followed; each folder is listed
    once, so that circles end. Otherwise such links are named among what was skipped.
    """

    def __init__(self, root: Path, follow_links: bool = False, reading: Reading = PLAIN) -> None:
        super().__init__(root.resolve().name, reading)
        self._root = root
        walk = _Walk(root, follow_links)
        names = walk.sorter.pictures(walk.names)
        self.listing = Listing(
            names,
            [(root / name).stat().st_size for name in names],
            None,
            sorted(walk.skipped),
            walk.sorter.others,
            label_file=walk.sorter.label_file(names),
            tables=walk.sorter.tables(names),
        )

    def _bytes(self, number: int) -> bytes:
        return within_limit(_first_bytes(self._root / self.listing.names[number], MOST_FILE_BYTES + 1))


class _Walk:
    def __init__(self, root: Path, follow_links: bool) -> None:
        self.names: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self.sorter = Sorter()
        self._root, self._inside, self._follow = root, root.resolve(), follow_links
        self._seen: set[tuple[int, int]] = set()
        # Links come after all true folders, so that a folder is listed under its own name if it has one.
        self._links: deque[str] = deque()
        self._go_below(str(root))
        while self._links:
            self._go_below(self._links.popleft())

    def _go_below(self, top: str) -> None:
        for folder, folders, files in os.walk(top, onerror=self._note_error):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in self._seen:
                folders.clear()
                self._skip(folder, "is a folder that is listed already under another name")
                continue
            self._seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                if os.path.islink(os.path.join(folder, name)):
                    self._take_link(os.path.join(folder, name))
            for name in sorted(files):
                if not name.startswith("."):
                    self._take(Path(folder, name))

    def _take_link(self, path: str) -> None:
        if self._follow:
            self._links.append(path)
        else:
            self._skip(path, f"is a link to a folder, {_NOT_FOLLOWED}")

    def _take(self, path: Path) -> None:
        if path.is_symlink() and kinds.suffix_of(path.name) not in ("", *kinds.SUFFIXES):
            self.sorter.others.add(self._name(path))
        elif path.is_symlink() and not path.exists():
            self._skip(path, "is a link to nothing")
        elif not self._follow and path.is_symlink() and not path.resolve().is_relative_to(self._inside):
            self._skip(path, f"is a link out of the folder, {_NOT_FOLLOWED}")
        elif not path.is_file():
            self._skip(path, "is not a file")
        elif self.sorter.is_picture(self._name(path), partial(_first_bytes, path)):
            self.names.append(self._name(path))

    def _note_error(self, error: OSError) -> None:
        self._skip(error.filename, f"cannot be listed ({error.strerror})")

    def _skip(self, path: str | Path, reason: str) -> None:
        self.skipped.append((self._name(path), reason))

    def _name(self, path: str | Path) -> str:
        return Path(path).relative_to(self._root).as_posix()


def _first_bytes(path: Path, count: int) -> bytes:
    with reading_picture(path), path.open("rb") as file:
        return file.read(count)


KIND = SourceKind(
    "a folder",
    lambda source: Path(source).is_dir(),
    lambda source, wanted: FolderSource(Path(source), wanted.follow_links, wanted.reading),
)
