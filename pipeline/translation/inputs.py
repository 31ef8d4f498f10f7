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
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import (
    FileSource,
    Listing,
    Picture,
    Source,
    Wanted,
    reading_source,
    within_limit,
)
from pipeline.errors import UserError
from pipeline.images.kinds import START_BYTES, is_picture
from pipeline.images.normalised import PLAIN, Unreadable
from pipeline.images.pictures import from_uint8


@dataclass(frozen=True)
class Given:
    """One input. name: of what is made of it, without an ending. image, holes: see `tiles.translated`."""

    name: str
    image: Tensor
    holes: Tensor | None


class Inputs:
    """The inputs of a translation, by number. names: as in `Given`; sources: as they were found.

    holes: the source of masks, white where an image is to be made anew. Errors: UserError if a mask is needed
    and there is none, or the other way round.
    """

    def __init__(self, where: str, how: Translation, holes: str | None = None) -> None:
        if how.holes and holes is None:
            raise UserError(
                f"{where}: this model fills holes; --holes names masks of the same names, white where an "
                "image is to be made anew"
            )
        if holes is not None and not how.holes:
            raise UserError(f"--holes {holes}: this model fills no holes; leave it out")
        self._how = how
        self._source, self._holes = _opened(where), None if holes is None else _opened(holes)
        self.sources: Sequence[str] = self._source.listing.names
        if not self.sources:
            raise UserError(f"{where}: holds no images")
        self.names = _names(self.sources)
        self._masks = _by_stem(self._holes)

    def __len__(self) -> int:
        return len(self.names)

    def given(self, number: int) -> Given:
        """The input of this number; Unreadable, with the reason."""
        if self._how.codes:
            image = self._codes(number)
        else:
            image = _pixels(self._source.picture(number), self._how.channels)
        return Given(self.names[number], image, self._hole(number, image))

    def _codes(self, number: int) -> Tensor:
        if not isinstance(self._source, FileSource):
            raise Unreadable("is no file, and label maps are read from files alone")
        codes = torch.from_numpy(np.asarray(self._source.codes(number)).copy())[None]
        if int(codes.max()) >= self._how.codes:
            raise Unreadable(f"has the code {int(codes.max())}; allowed: below {self._how.codes}")
        return codes

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
        return (mask > 0).float()


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
    often = Counter(map(_stem, sources))
    return [_stem(name) if often[_stem(name)] == 1 else name for name in sources]


def _by_stem(source: Source | None) -> dict[str, int]:
    return {} if source is None else {_stem(name): i for i, name in enumerate(source.listing.names)}
