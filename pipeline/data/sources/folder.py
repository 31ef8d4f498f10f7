"""Pictures in a folder tree."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pipeline.data.sources.holding import form_of_folder
from pipeline.data.sources.names import SortedNames, write_numbers
from pipeline.data.sources.sorting import Sorter
from pipeline.data.sources.source import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    SourceKind,
    Wanted,
    reading_picture,
    within_limit,
)
from pipeline.images import kinds
from pipeline.images.pixels import Reading

_FOUND_EVERY = 1000  # files
_INDEX_START = 64  # bytes
_NOT_FOLLOWED = "which is not followed; --follow-links follows it"


class FolderSource(FileSource):
    """All pictures in a folder and the folders below it, as `list_folder` lists them."""

    def __init__(self, root: Path, reading: Reading, listing: Listing) -> None:
        super().__init__(root.resolve().name, reading)
        self._root, self.listing = root, listing

    def _bytes(self, number: int) -> bytes:
        return within_limit(_first_bytes(self._root / self.listing.names[number], MOST_FILE_BYTES + 1))


def list_folder(root: Path, follow_links: bool, found: Callable[[int], object]) -> Listing:
    """The pictures of a folder. Hidden files are left alone.

    follow_links: links to folders, and links that lead out of the folder, are followed; each folder is listed
    once, so that circles end. Otherwise such links are named among what was skipped. found: as in `Wanted`.
    """
    walk = _Walk(root, follow_links, found)
    # What is open stays readable without a name, and is gone with the process.
    with tempfile.TemporaryDirectory() as room:
        names = _without_masks(walk, Path(room))
        sizes = write_numbers(Path(room, "sizes"), ((root / name).stat().st_size for name in names))
    return Listing(
        names,
        sizes,
        None,
        sorted(walk.skipped),
        walk.sorter.others,
        label_file=walk.sorter.label_file(names),
        tables=walk.sorter.tables(names),
    )


def _without_masks(walk: _Walk, room: Path) -> Sequence[str]:
    """The names in order, without masks that lie in folders beside the pictures."""
    names = walk.names.into(room)
    pictures = walk.sorter.pictures(names)
    if pictures is names:
        return names
    kept = SortedNames()
    for name in pictures:
        kept.add(name)
    (room / "kept").mkdir()
    return kept.into(room / "kept")


class _Walk:
    def __init__(self, root: Path, follow_links: bool, found: Callable[[int], object]) -> None:
        self.names, self._found = SortedNames(), found
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
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in self._seen:
                    self._skip(folder, "is a folder that is listed already under another name")
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                if is_data_set(folder):
                    self._skip(folder, "is a data set of shards; give it as SOURCE, or export it first")
                    continue
                waiting += sorted(self._folders(folder), reverse=True)
            except OSError as error:
                self._note_error(error)

    def _folders(self, folder: str) -> Iterator[str]:
        """The folders in `folder`; its files are taken one by one, since there may be any number of them."""
        links = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    self._take(Path(entry.path))
                elif entry.is_symlink():
                    links.append(entry.path)
                else:
                    yield entry.path
        for path in sorted(links):
            self._take_link(path)

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
            self.names.add(self._name(path))
            if self.names.count % _FOUND_EVERY == 0:
                self._found(self.names.count)

    def _note_error(self, error: OSError) -> None:
        self._skip(error.filename, f"cannot be listed ({error.strerror})")

    def _skip(self, path: str | Path, reason: str) -> None:
        self.skipped.append((self._name(path), reason))

    def _name(self, path: str | Path) -> str:
        return Path(path).relative_to(self._root).as_posix()


def is_data_set(folder: str | Path) -> bool:
    """Whether hrgan has made, or makes, a data set in a folder: the pictures of its report are none of it."""
    try:
        with open(os.path.join(folder, "index.json"), "rb") as file:
            return b'"hrgan-shards"' in file.read(_INDEX_START)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _first_bytes(path: Path, count: int) -> bytes:
    with reading_picture(path), path.open("rb") as file:
        return file.read(count)


def _open(source: str, wanted: Wanted) -> FolderSource:
    root = Path(source)
    return FolderSource(root, wanted.reading, list_folder(root, wanted.follow_links, wanted.found))


KIND = SourceKind(
    "a folder",
    lambda source: Path(source).is_dir() and form_of_folder(Path(source)) is None,
    _open,
    reopen=lambda source, wanted, listing: FolderSource(Path(source), wanted.reading, listing),
)
