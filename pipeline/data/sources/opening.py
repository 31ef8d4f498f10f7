"""Where pictures come from: a folder, an archive or a demo. Listing is here, reading is by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from pipeline.errors import UserError
from pipeline.images import kinds
from pipeline.images.kinds import START_BYTES, Others
from pipeline.images.normalised import MOST_PIXELS, PLAIN, Unreadable, read_picture, size_of
from pipeline.images.pixels import Reading, Remark

MOST_FILE_BYTES = 4 * MOST_PIXELS
"""A file larger than its pixels could be is not read."""

LABEL_FILE = "dataset.json"
"""Labels that a folder or an archive brings along, as stylegan2-ada-pytorch and `hrgan export` write them."""

MOST_LABEL_BYTES = 2**29


@dataclass(frozen=True)
class Listing:
    """What a source holds. names: one a picture, unique, with "/" between folders. sizes: bytes.

    labels: a class name each, if the source itself has them; labels_fault: why they cannot be used, for
    who wants them. label_file: name and content of a LABEL_FILE above all pictures. skipped: (name, reason)
    of what looked like a picture and cannot be one. others: files of other kinds.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    labels: Sequence[str] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    others: Others = field(default_factory=Others)
    labels_fault: str | None = None
    label_file: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Picture:
    """A picture as RGB or L, and what is known about it, as JSON. remarks, values: as `Plain` has them."""

    image: Image.Image
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None


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


class FileSource(ABC):
    """A source whose pictures are files; who inherits it says how their bytes are had."""

    title: str
    listing: Listing
    reading: Reading = PLAIN

    def picture(self, number: int) -> Picture:
        found = read_picture(self._bytes(number), self.reading)
        return Picture(found.image, {}, found.remarks, found.values)

    def size(self, number: int) -> tuple[int, int]:
        return size_of(self._bytes(number))

    @abstractmethod
    def _bytes(self, number: int) -> bytes:
        """The file of picture `number`; Unreadable, with the reason."""


class Sorter:
    """The files of a source, told apart as they are found: pictures, the label file, and others."""

    def __init__(self) -> None:
        self.others = Others()
        self._label_file: tuple[str, bytes] | None = None

    def is_picture(self, name: str, read: Callable[[int], bytes]) -> bool:
        """Whether it is one; anything else is counted. read: at most so many of its first bytes."""
        if name.rpartition("/")[2] == LABEL_FILE and self._is_higher(name):
            content = _read(read, MOST_LABEL_BYTES + 1)
            if len(content) <= MOST_LABEL_BYTES:
                self._put_label_file(name, content)
                return False
        start = _read(read, START_BYTES) if kinds.may_hide_picture(name) else b""
        if kinds.is_picture(name, start):
            return True
        self.others.add(name, start)
        return False

    def label_file(self, names: Sequence[str]) -> tuple[str, bytes] | None:
        """(name, content) of the label file, if it lies above all pictures `names`."""
        if self._label_file is None:
            return None
        folder = self._label_file[0].removesuffix(LABEL_FILE)
        if all(name.startswith(folder) for name in names):
            return self._label_file
        self.others.add(self._label_file[0])
        return None

    def _is_higher(self, name: str) -> bool:
        return self._label_file is None or name.count("/") < self._label_file[0].count("/")

    def _put_label_file(self, name: str, content: bytes) -> None:
        if self._label_file is not None:
            self.others.add(self._label_file[0])
        self._label_file = (name, content)


def _read(read: Callable[[int], bytes], count: int) -> bytes:
    try:
        return read(count)
    except (Unreadable, OSError):
        return b""


def within_limit(data: bytes) -> bytes:
    """`data`, unless it is empty or longer than any picture may be."""
    if not data:
        raise Unreadable("is empty")
    if len(data) > MOST_FILE_BYTES:
        raise Unreadable(f"larger than {MOST_FILE_BYTES} bytes")
    return data


def is_hidden(name: str) -> bool:
    """Whether any part of a path is hidden, or is what macOS leaves in archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def open_source(
    source: str,
    count: int | None,
    seed: int,
    side: int | None,
    *,
    reading: Reading = PLAIN,
    follow_links: bool = False,
) -> Source:
    """The source that `source` means: a folder, zip, tar, demo:digits or demo:faces.

    count, seed, side: how many faces the demo draws, from which seed, how large in pixels. reading: of
    pixels. follow_links: in a folder, also to what lies outside of it.
    """
    if source.startswith("demo:"):
        return _open_demo(source, count, seed, side)
    path = Path(source)
    if path.is_dir():
        from pipeline.data.sources.folder import FolderSource

        found: FileSource = FolderSource(path, follow_links)
    else:
        _refuse_other_files(path)
        from pipeline.data.sources.archives import open_archive

        found = open_archive(path)
    found.reading = reading
    return found


def _refuse_other_files(path: Path) -> None:
    """UserError for what is neither a folder nor may be an archive."""
    if not path.exists():
        raise UserError(f"{path}: no such source; allowed: a folder, .zip, .tar, demo:digits, demo:faces")
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror})") from error
    if kinds.is_picture(path.name, start):
        raise UserError(f"{path}: is one picture; give the folder that it lies in")
    form = kinds.form_of(path.name, start)
    if form is not None and not form.archive:
        raise UserError(f"{path}: looks like {form.name}, which is not read; {form.advice}")


def _open_demo(source: str, count: int | None, seed: int, side: int | None) -> Source:
    if source == "demo:digits":
        from pipeline.data.sources.demo_digits import DigitsSource

        return DigitsSource()
    if source == "demo:faces":
        from pipeline.data.sources.demo_faces import FacesSource

        return FacesSource(1000 if count is None else count, seed, 256 if side is None else side)
    raise UserError(f"{source}: no such demo; allowed: demo:digits, demo:faces")
