"""demo:faces: drawn portraits, any number, at any size up to 1024, with labelled attributes."""

from __future__ import annotations

from PIL import Image

from pipeline.data.sources.faces.portrait import portrait
from pipeline.data.sources.faces.traits import traits
from pipeline.data.sources.source import Listing, Picture, SourceKind, Wanted
from pipeline.errors import UserError

_NAME = "demo:faces"
_SIDES = range(16, 1025)
_SIDE, _COUNT, _MOST = 256, 1000, 10_000_000


class FacesSource:
    """`count` portraits; the i-th is a function of (seed, i, side). The class is the hair colour."""

    def __init__(self, count: int, seed: int, side: int) -> None:
        if side not in _SIDES:
            raise UserError(f"{_NAME}: resolution: {side}; {_SIDES[0]} to {_SIDES[-1]} pixels are allowed")
        if not 1 <= count <= _MOST:
            raise UserError(f"{_NAME}: count: {count}; 1 to {_MOST} are allowed")
        self.title, self._seed, self._side = _NAME, seed, side
        names = [f"face-{number:08d}" for number in range(count)]
        labels = [traits(seed, number).hair for number in range(count)]
        self.listing = Listing(names, [side] * count, labels)

    def picture(self, number: int) -> Picture:
        person = traits(self._seed, number)
        return Picture(Image.fromarray(portrait(person, self._side)), person.about())

    def size(self, number: int) -> tuple[int, int]:
        return (self._side, self._side)


def _open(source: str, wanted: Wanted) -> FacesSource:
    count = _COUNT if wanted.count is None else wanted.count
    return FacesSource(count, wanted.seed, _SIDE if wanted.side is None else wanted.side)


KIND = SourceKind(_NAME, lambda source: source == _NAME, _open, side=_SIDE)
