"""What a source of pictures is: it lists what it holds, and gives a picture by its number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
from PIL import Image

from pipeline.contracts import Field
from pipeline.errors import UserError
from pipeline.images.kinds import Others
from pipeline.images.normalised import MOST_PIXELS, PLAIN, Unreadable, read_codes, read_picture, size_of
from pipeline.images.pixels import Reading, Remark
from pipeline.storage.faults import machine_explained

MOST_FILE_BYTES = 4 * MOST_PIXELS
"""A file larger than its pixels could be is not read."""


@dataclass(frozen=True)
class Listing:
    """What a source holds. names: one a picture, unique, with "/" between folders. sizes: bytes.

    labels: a class name for each picture, if the source itself has them; labels_from: where in it they stand;
    label_column: the one of several labels that was asked for, and that they are; labels_fault: why they
    cannot be used, for a caller who wants them. label_file: name and content of a `dataset.json` that lies
    above all pictures; tables: of other tables that the source brings along. skipped: (name, reason) of each
    file that looked like a picture and cannot be one. others: files of other kinds. fields: what every
    picture has beside it; images and masks without a shape get the size of the picture. in_folders: whether
    the folders in the names may be classes without being asked for. depends: what else than names, sizes and
    classes the data set depends on, for its origin. inner: the last part of each name is a place inside of a
    file, so that the part before it is no folder.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    labels: Sequence[str] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    others: Others = field(default_factory=Others)
    labels_fault: str | None = None
    label_file: tuple[str, bytes] | None = None
    fields: Sequence[Field] = ()
    labels_from: str = ""
    label_column: str | None = None
    in_folders: bool = True
    depends: Mapping[str, object] = field(default_factory=dict)
    tables: Sequence[tuple[str, bytes]] = ()
    inner: bool = False


Beside = Image.Image | str | npt.NDArray[Any]
"""An image or a mask (L, or P whose numbers count), a text, an array."""


@dataclass(frozen=True)
class Picture:
    """A picture as RGB or L, and what is known about it, as JSON. remarks, values: as in `Plain`.

    extra: one a field of the listing, by name; images and masks of the picture's own proportions.
    """

    image: Image.Image
    meta: Mapping[str, Any] = field(default_factory=dict)
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None
    extra: Mapping[str, Beside] = field(default_factory=dict)


class Source(Protocol):
    """Pictures by number. It is copied into worker processes, so it opens its files where it reads them."""

    title: str
    listing: Listing

    def picture(self, number: int) -> Picture:
        """Picture `number` of the listing; Unreadable, with the reason, if it cannot be read."""
        ...

    def size(self, number: int) -> tuple[int, int]:
        """Its (width, height), without decoding it; Unreadable as above."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source.

    count, seed, side: how many pictures a demo draws, from which seed, and of how many pixels a side; None:
    the demo's own. reading: how pixels are understood. follow_links: in a folder, also links to folders and
    links that lead out of it. label_column: which of several labels that a source itself has;
    caption_column: where in it the pictures' texts are. found: is told now and then how many files were
    listed so far. image_column: of a table; None: the only one. every: seconds between the frames that are
    taken of a video; 0: all frames. fields: what a demo draws beside each picture.
    """

    count: int | None = None
    seed: int = 0
    side: int | None = None
    reading: Reading = PLAIN
    follow_links: bool = False
    label_column: str | None = None
    caption_column: str | None = None
    found: Callable[[int], object] = lambda count: None
    image_column: str | None = None
    every: float = 1.0
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceKind:
    """A kind of source, as the table in `opening` lists it.

    words: its name in help and errors, as `known` has it. fits: whether what the user gave as SOURCE is of
    this kind. side: pixels a side of a kind whose pictures have no size of their own. reopen: opens a source
    that another process has listed, if its listing is all that it has to know. fields: what it draws beside
    each picture if it is asked to.
    """

    words: str
    fits: Callable[[str], bool]
    open: Callable[[str, Wanted], Source]
    side: int | None = None
    reopen: Callable[[str, Wanted, Listing], Source] | None = None
    fields: tuple[str, ...] = ()

    def check_fields(self, source: str, asked: Sequence[str]) -> None:
        """Raises UserError unless all that is asked for is among `fields`."""
        for name in asked:
            if name not in self.fields:
                instead = f"allowed: {', '.join(self.fields)}" if self.fields else "leave the option out"
                raise UserError(f"--fields {name}: {source} draws no such field; {instead}")


class FileSource(ABC):
    """A source whose pictures are files; a subclass says how their bytes are read."""

    listing: Listing

    def __init__(self, title: str, reading: Reading) -> None:
        self.title, self._reading = title, reading

    def picture(self, number: int) -> Picture:
        picture = read_picture(self._bytes(number), self._reading)
        return Picture(picture.image, {}, picture.remarks, picture.values)

    def size(self, number: int) -> tuple[int, int]:
        return size_of(self._bytes(number))

    def codes(self, number: int) -> Image.Image:
        """Picture `number` as a label map: one channel, whose values count and not what they look like.
        Unreadable, with the reason."""
        return read_codes(self._bytes(number))

    @abstractmethod
    def _bytes(self, number: int) -> bytes:
        """The file of picture `number`; Unreadable, with the reason."""


def within_limit(data: bytes) -> bytes:
    """`data`; Unreadable if it is empty or longer than any picture may be."""
    if not data:
        raise Unreadable("is empty")
    if len(data) > MOST_FILE_BYTES:
        raise Unreadable(f"larger than {MOST_FILE_BYTES} bytes")
    return data


def is_hidden(name: str) -> bool:
    """Whether any part of a path is hidden, or is what macOS leaves in archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def refuse_escape(path: Path, name: str) -> None:
    """UserError for a member of the archive `path` whose name leads out of the folder it would unpack to."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise UserError(f"{path}: member {name!r} points outside of the archive; such archives are refused")


@contextmanager
def reading_picture(path: Path) -> Iterator[None]:
    """Turns an OSError while one picture is read into Unreadable, or into RunFailed for a machine's fault."""
    try:
        with machine_explained(path):
            yield
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error


@contextmanager
def reading_source(path: Path) -> Iterator[None]:
    """Turns an OSError while a source is listed into UserError, or into RunFailed for a machine's fault."""
    try:
        with machine_explained(path):
            yield
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror})") from error
