"""Where pictures come from: a folder, an archive or a demo. Listing is here, reading is by number."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from pipeline.data.images import FILE_EXTENSIONS, MOST_PIXELS, Unreadable, load, size_of
from pipeline.errors import UserError

MOST_FILE_BYTES = 4 * MOST_PIXELS
"""A file larger than its pixels could be is not read."""


@dataclass(frozen=True)
class Listing:
    """What a source holds. names: one a picture, unique, with "/" between folders. sizes: bytes.

    labels: a class name each, if the source itself has them; labels_fault: why they cannot be used, for
    who wants them. skipped: (name, reason) of what looked
    like a picture and cannot be one. ignored: files of other kinds.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    labels: Sequence[str] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    ignored: int = 0
    labels_fault: str | None = None


@dataclass(frozen=True)
class Picture:
    """A picture as RGB or L, and what is known about it, as JSON."""

    image: Image.Image
    meta: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """Pictures by number. It is copied into worker processes, so it opens its files where it reads."""

    title: str
    listing: Listing

    def picture(self, number: int) -> Picture:
        """Picture `number` of the listing; Unreadable, with the reason, if it cannot be had."""
        ...

    def size(self, number: int) -> tuple[int, int]:
        """(width, height) of it, without decoding it; Unreadable as above."""
        ...


class FolderSource:
    """All pictures in a folder tree. Hidden files and links that lead out of it are left alone."""

    def __init__(self, root: Path) -> None:
        self.title = root.resolve().name
        self._root = root
        names, skipped, ignored = _walk(root)
        self.listing = Listing(
            names, [(root / name).stat().st_size for name in names], None, skipped, ignored
        )

    def picture(self, number: int) -> Picture:
        return Picture(load(self._bytes(number)))

    def size(self, number: int) -> tuple[int, int]:
        return size_of(self._bytes(number))

    def _bytes(self, number: int) -> bytes:
        name = self.listing.names[number]
        try:
            with (self._root / name).open("rb") as file:
                return within_limit(file.read(MOST_FILE_BYTES + 1))
        except OSError as error:
            raise Unreadable(f"cannot be read ({error.strerror})") from error


def within_limit(data: bytes) -> bytes:
    """`data`, unless it is empty or longer than any picture may be."""
    if not data:
        raise Unreadable("is empty")
    if len(data) > MOST_FILE_BYTES:
        raise Unreadable(f"larger than {MOST_FILE_BYTES} bytes")
    return data


def is_picture(name: str) -> bool:
    """Whether a file's name ends like a picture's."""
    return os.path.splitext(name)[1].lower() in FILE_EXTENSIONS


def is_hidden(name: str) -> bool:
    """Whether any part of a path is hidden, or is what macOS leaves in archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def open_source(source: str, count: int | None, seed: int, side: int | None) -> Source:
    """The source that `source` means: a folder, zip, tar, demo:digits or demo:faces.

    count, seed, side: how many faces the demo draws, from which seed, how large in pixels.
    """
    if source.startswith("demo:"):
        return _open_demo(source, count, seed, side)
    path = Path(source)
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise UserError(f"{source}: no such source; allowed: a folder, .zip, .tar, demo:digits, demo:faces")
    from pipeline.data.archives import open_archive

    return open_archive(path)


def _open_demo(source: str, count: int | None, seed: int, side: int | None) -> Source:
    if source == "demo:digits":
        from pipeline.data.demo_digits import DigitsSource

        return DigitsSource()
    if source == "demo:faces":
        from pipeline.data.demo_faces import FacesSource

        return FacesSource(1000 if count is None else count, seed, 256 if side is None else side)
    raise UserError(f"{source}: no such demo; allowed: demo:digits, demo:faces")


def _walk(root: Path) -> tuple[list[str], list[tuple[str, str]], int]:
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    ignored = 0
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(root).as_posix()
            if file.startswith("."):
                continue
            if not is_picture(file):
                ignored += 1
            elif not path.exists():
                skipped.append((name, "is a link to nothing"))
            elif path.is_symlink() and not path.resolve().is_relative_to(inside):
                skipped.append((name, "is a link out of the folder, which is not followed"))
            elif not path.is_file():
                skipped.append((name, "is not a file"))
            else:
                names.append(name)
    return sorted(names), sorted(skipped), ignored
