"""demo:faces: drawn portraits, any number, at any size up to 1024, with labelled attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from PIL import Image

from pipeline.contracts import Field
from pipeline.data.sources.faces.caption import LONGEST, caption
from pipeline.data.sources.faces.portrait import Drawing, drawing
from pipeline.data.sources.faces.traits import Traits, traits
from pipeline.data.sources.faces.truth import MOST_OBJECTS, MOST_TRIPLES, edges, parts, scene
from pipeline.data.sources.source import Beside, Listing, Picture, SourceKind, Wanted
from pipeline.errors import UserError

_NAME = "demo:faces"
_SIDES = range(16, 1025)
_SIDE, _COUNT, _MOST = 256, 1000, 10_000_000
_FIELDS: Mapping[str, tuple[Field, ...]] = {
    "edges": (Field("edges", "image", ()),),
    "parts": (Field("parts", "mask", ()),),
    "text": (Field("text", "text", (LONGEST,)),),
    "scene": (
        Field("objects", "array", (MOST_OBJECTS,), "int16"),
        Field("boxes", "array", (MOST_OBJECTS, 4), "float32"),
        Field("triples", "array", (MOST_TRIPLES, 3), "int16"),
    ),
}
"""What may be asked for beside each portrait, and the fields that it becomes."""


class FacesSource:
    """`count` portraits; the i-th is a function of (seed, i, side). The class is the hair colour. beside:
    what each has beside it, of `_FIELDS`."""

    def __init__(self, count: int, seed: int, side: int, beside: Sequence[str] = ()) -> None:
        if side not in _SIDES:
            raise UserError(f"{_NAME}: resolution: {side}; {_SIDES[0]} to {_SIDES[-1]} pixels are allowed")
        if not 1 <= count <= _MOST:
            raise UserError(f"{_NAME}: count: {count}; 1 to {_MOST} are allowed")
        self.title, self._seed, self._side = _NAME, seed, side
        self._beside = [name for name in _FIELDS if name in beside]
        names = [f"face-{number:08d}" for number in range(count)]
        labels = [traits(seed, number).hair for number in range(count)]
        fields = [field for name in self._beside for field in _FIELDS[name]]
        self.listing = Listing(names, [side] * count, labels, fields=fields)

    def picture(self, number: int) -> Picture:
        person = traits(self._seed, number)
        drawn = drawing(person, self._side)
        extra: dict[str, Beside] = {}
        for name in self._beside:
            extra |= _BESIDE[name](person, drawn)
        return Picture(Image.fromarray(drawn.pixels), person.about(), extra=extra)

    def size(self, number: int) -> tuple[int, int]:
        return (self._side, self._side)


def _graph(person: Traits, drawn: Drawing) -> dict[str, Beside]:
    known = scene(person, drawn)
    return {"objects": known.objects, "boxes": known.boxes, "triples": known.triples}


_BESIDE: Mapping[str, Callable[[Traits, Drawing], Mapping[str, Beside]]] = {
    "edges": lambda person, drawn: {"edges": Image.fromarray(edges(drawn))},
    "parts": lambda person, drawn: {"parts": Image.fromarray(parts(drawn))},
    "text": lambda person, drawn: {"text": caption(person)},
    "scene": _graph,
}


def _open(source: str, wanted: Wanted) -> FacesSource:
    count = _COUNT if wanted.count is None else wanted.count
    return FacesSource(count, wanted.seed, _SIDE if wanted.side is None else wanted.side, wanted.fields)


KIND = SourceKind(_NAME, lambda source: source == _NAME, _open, side=_SIDE, fields=tuple(_FIELDS))
"""A parametric portrait painter: traits from a seed, a picture from traits."""
