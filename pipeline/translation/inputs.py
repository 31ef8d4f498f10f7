"""What is translated: the pictures of a source, or one picture; and the masks beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from pipeline.contracts import Translation
from pipeline.data.sources.digest import listing_digest
from pipeline.data.sources.folder import is_data_set
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import (
    FileSource,
    Listing,
    Picture,
    Source,
    Wanted,
    reading_source,
    refuse_escape,
    within_limit,
)
from pipeline.errors import UserError
from pipeline.images.kinds import START_BYTES, is_picture
from pipeline.images.normalised import PLAIN, Unreadable
from pipeline.images.pictures import from_uint8
from pipeline.words import printable


@dataclass(frozen=True)
class Given:
    """One input. name: of what is made of it, without an ending. image, holes: see `tiles.translated`."""

    name: str
    image: Tensor
    holes: Tensor | None


class Inputs:
    """The inputs of a translation, by number. names: as in `Given`; sources: as they were found.

    skipped: (name, reason) of each file that looked like a picture and cannot be one. digest: of what both
    sources list. holes: the source of masks, white where an image is to be made anew. Errors: UserError if a
    mask is needed and there is none, or the other way round, and for names that lead out of a folder.
    """

    def __init__(self, where: str, how: Translation, holes: str | None = None) -> None:
        if how.holes and holes is None:
            raise UserError(
                f"{where}: this model fills holes; --holes names masks of the same names, white where an "
                "image is to be made anew"
            )
        if holes is not None and not how.holes:
            raise UserError(f"--holes {holes}: this model fills no holes; leave it out")
        if how.channels not in (1, 3):
            raise UserError(
                f"{where}: this model takes images of {how.channels} channels; pictures are read as 1 or 3"
            )
        self._how = how
        self._source, self._holes = _opened(where), None if holes is None else _opened(holes)
        self.sources: Sequence[str] = self._source.listing.names
        self.skipped = self._source.listing.skipped
        if not self.sources:
            raise UserError(f"{where}: holds no images{_why(self.skipped)}")
        for name in self.sources:
            refuse_escape(Path(where), name)
        self.names = _names(self.sources)
        self._masks = {} if self._holes is None else _by_stem(self._holes)
        listings = [source.listing for source in (self._source, self._holes) if source is not None]
        self.digest = "-".join(listing_digest(listing, None) for listing in listings)

    def __len__(self) -> int:
        return len(self.names)

    def given(self, number: int) -> Given:
        """The input of this number; Unreadable, with the reason."""
        if self._how.codes:
            image = self._codes(number)
        else:
            image = _pixels(self._source.picture(number), self._how.channels)
        only, (height, width) = self._how.only, image.shape[1:]
        if only is not None and (height, width) != (only, only):
            raise Unreadable(f"is {width}x{height} pixels; this model takes {only}x{only} alone")
        return Given(self.names[number], image, self._hole(number, image))

    def _codes(self, number: int) -> Tensor:
        if not isinstance(self._source, FileSource):
            raise Unreadable("is no file, and label maps are read from files alone")
        return torch.from_numpy(np.asarray(self._source.codes(number)).copy())[None]

    def _hole(self, number: int, image: Tensor) -> Tensor | None:
        if self._holes is None:
            return None
        place = self._masks.get(_stem(self.sources[number]))
        if place is None and len(self._masks) == len(self.sources) == 1:
            place = 0  # one picture and one mask, whatever they are called
        if place is None:
            raise Unreadable(f"has no mask of the same name in {self._holes.title}")
        mask = _pixels(self._holes.picture(place), 1)
        if mask.shape[1:] != image.shape[1:]:
            raise Unreadable(
                f"is {image.shape[2]}x{image.shape[1]}, its mask {mask.shape[2]}x{mask.shape[1]} pixels"
            )
        hole, margin = (mask > 0).float(), self._how.margin
        if margin and hole.sum() > hole[:, margin:-margin, margin:-margin].sum():
            raise Unreadable(
                f"has a mask with holes within {margin} pixels of the border, which this model does not fill"
            )
        return hole


class _OnePicture(FileSource):
    """A source of one picture that is a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), PLAIN)
        self._path = path
        self.listing = Listing([path.name], [path.stat().st_size])

    def _bytes(self, number: int) -> bytes:
        return within_limit(self._path.read_bytes())


def _opened(where: str) -> Source:
    path = Path(where)
    if is_data_set(path):
        raise UserError(f"{where}: is a data set of hrgan's shards; hrgan export makes pictures of it")
    if path.is_file():
        with reading_source(path), path.open("rb") as file:
            start = file.read(START_BYTES)
        if is_picture(path.name, start):
            return _OnePicture(path)
    return source_kind(where).open(where, Wanted())


def _pixels(picture: Picture, channels: int) -> Tensor:
    image = picture.image.convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    return from_uint8(torch.from_numpy(pixels.copy())).permute(2, 0, 1)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _names(sources: Sequence[str]) -> list[str]:
    """Names without endings; with them where two would be the same."""
    often, whole = Counter(map(_stem, sources)), set(sources)
    return [_stem(name) if often[_stem(name)] == 1 and _stem(name) not in whole else name for name in sources]


def _by_stem(source: Source) -> dict[str, int]:
    """The number of each picture by its name without ending; UserError where two have the same."""
    numbers: dict[str, int] = {}
    for number, name in enumerate(source.listing.names):
        other = numbers.setdefault(_stem(name), number)
        if other != number:
            both = f"{printable(source.listing.names[other])} and {printable(name)}"
            raise UserError(f"{source.title}: holds {both}, two masks of one name; take one away")
    return numbers


def _why(skipped: Sequence[tuple[str, str]]) -> str:
    return "" if not skipped else f" ({printable(skipped[0][0])} {skipped[0][1]})"
