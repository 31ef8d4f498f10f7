"""Pictures in pairs: beside each picture, the one that it is to be made of, or its label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

from PIL import Image

from pipeline.contracts import Field
from pipeline.data.sources.source import Beside, FileSource, Picture, Source
from pipeline.errors import UserError
from pipeline.images.pixels import Unreadable
from pipeline.words import printable

Half = Literal["left", "right"]
HALVES: tuple[Half, ...] = ("left", "right")

INPUT, MAP = "input", "map"
"""The fields of inputs and of label maps."""


class HalvedSource:
    """Pictures that each hold a pair side by side, of equal width: `given` says which half is the input."""

    def __init__(self, source: Source, given: Half) -> None:
        self.title, self._source, self._given = source.title, source, given
        listing, field = source.listing, Field(INPUT, "image", ())
        self.listing = replace(
            listing, fields=(*listing.fields, field), depends={**listing.depends, "pairs": given}
        )

    def picture(self, number: int) -> Picture:
        """See `Source`."""
        picture = self._source.picture(number)
        if picture.image.width % 2:
            raise Unreadable(f"is {picture.image.width} pixels wide, which are no two halves")
        left, right = (_half(picture.image, place) for place in (0, 1))
        image, given = (right, left) if self._given == "left" else (left, right)
        return replace(picture, image=image, extra={**picture.extra, INPUT: given})

    def size(self, number: int) -> tuple[int, int]:
        """See `Source`."""
        width, height = self._source.size(number)
        return width // 2, height


class PairedSource:
    """A source's pictures, each with the picture of the same name in `others` beside it: of the same path,
    without what follows its last dot.

    name: of the field that takes them: INPUT for pictures, MAP for label maps. digest: of what `others`
    lists. A picture without another is unreadable. Errors: UserError if no name is in both, if two pictures
    of a source have one name, or if label maps lie where their values cannot be had.
    """

    def __init__(self, source: Source, others: Source, name: str, digest: str) -> None:
        self.title, self._source, self._others, self._name = source.title, source, others, name
        self._places = _places(others.listing.names, others.title)
        names = source.listing.names
        if self._places.keys().isdisjoint(_places(names, source.title)):
            raise UserError(
                f"{others.title}: no picture has the name of one in {source.title}, such as "
                f"{_stem(names[0]) if names else 'any'}; pairs have the same path, without what follows the "
                "last dot"
            )
        if name == MAP and not isinstance(others, FileSource):
            raise UserError(
                f"{others.title}: label maps are taken from files alone; give a folder or archive"
            )
        listing = source.listing
        field = Field(name, "image" if name == INPUT else "mask", ())
        self.listing = replace(
            listing,
            fields=(*listing.fields, field),
            depends={**listing.depends, name: digest},
        )

    def picture(self, number: int) -> Picture:
        """See `Source`."""
        picture = self._source.picture(number)
        place = self._places.get(_stem(self._source.listing.names[number]))
        if place is None:
            raise Unreadable(f"has no {self._name} of the same name in {self._others.title}")
        try:
            return replace(picture, extra={**picture.extra, self._name: self._beside(place)})
        except Unreadable as reason:
            raise Unreadable(f"its {self._name} {reason}") from reason

    def size(self, number: int) -> tuple[int, int]:
        """See `Source`."""
        return self._source.size(number)

    def _beside(self, place: int) -> Beside:
        if self._name == MAP:
            assert isinstance(self._others, FileSource), "others are refused before"
            return self._others.codes(place)
        return self._others.picture(place).image


def _half(image: Image.Image, place: int) -> Image.Image:
    half = image.width // 2
    return image.crop((place * half, 0, (place + 1) * half, image.height))


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _places(names: Sequence[str], title: str) -> dict[str, int]:
    """Returns the place of each name by its stem; UserError if two have the same."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        first = places.setdefault(_stem(name), place)
        if first != place:
            raise UserError(
                f"{title}: {printable(names[first])} and {printable(name)} have one name without what "
                "follows the last dot, and either could be meant in a pair; give a source with one of them"
            )
    return places
