"""What is known of a drawing: its parts, its contours, and a graph of its objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.faces.canvas import CODES, PARTS
from pipeline.data.sources.faces.portrait import Drawing
from pipeline.data.sources.faces.traits import CLOTHES, HAIRS, SKINS, Traits

_SINGLE = ("left eye", "right eye", "nose", "mouth", "beard", "glasses")
OBJECTS = (
    "none",
    *(f"{colour} hair" for colour in HAIRS),
    *(f"{skin} face" for skin in SKINS),
    *_SINGLE,
    *(f"{colour} clothes" for colour in CLOTHES),
)
"""What an object of the graph may be; its code is its place here, and 0 fills places without one."""
RELATIONS = ("none", "left of", "right of", "above", "below", "inside", "around")
"""How the first of two objects lies to the second; the code is the place here."""
MOST_OBJECTS, MOST_TRIPLES = 9, 36
"""Hair, face, two eyes, nose, mouth, beard, glasses, clothes; and all pairs of them."""

_IN_FACE = ("face", "eyes", "irises", "brows", "nose", "mouth", "beard")
_EYES = ("eyes", "irises")

Codes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """objects: their codes, int16 [9]. boxes: left, top, right and bottom of each, float32 [9, 4], where the
    picture is 1 wide and high. triples: place of the first object, relation, place of the second, int16
    [36, 3]. Places without an object or a relation are 0."""

    objects: npt.NDArray[np.int16]
    boxes: npt.NDArray[np.float32]
    triples: npt.NDArray[np.int16]


def parts(drawing: Drawing) -> Codes:
    """The code of what most of each pixel shows, [S, S]; of equals the first in `PARTS`."""
    side = len(drawing.pixels)
    blocks = drawing.codes.reshape(side, len(drawing.codes) // side, side, -1)
    counts = np.stack([(blocks == code).sum((1, 3)) for code in range(len(PARTS))])
    most: Codes = counts.argmax(0).astype(np.uint8)
    return most


def edges(drawing: Drawing) -> Codes:
    """Lines where two parts meet, black on white: grey values [S, S]. They are a pixel wide, but 1/256 of the
    side at least and 1/64 at most."""
    codes, side = drawing.codes, len(drawing.pixels)
    meets = np.zeros(codes.shape, bool)
    meets[:-1] |= codes[:-1] != codes[1:]
    meets[:, :-1] |= codes[:, :-1] != codes[:, 1:]
    fine = len(codes) // side
    lines = _thick(meets, max(min(fine, 4), side // 256)).reshape(side, fine, side, fine).mean((1, 3))
    grey: Codes = (255 - 255 * lines + 0.5).astype(np.uint8)
    return grey


def scene(traits: Traits, drawing: Drawing) -> Scene:
    """The graph of what is there to be seen."""
    found = [
        (OBJECTS.index(name), box) for name, mask in _masks(traits, drawing.codes) if (box := _box(mask))
    ]
    objects = np.zeros(MOST_OBJECTS, np.int16)
    boxes = np.zeros((MOST_OBJECTS, 4), np.float32)
    triples = np.zeros((MOST_TRIPLES, 3), np.int16)
    for place, (code, box) in enumerate(found):
        objects[place], boxes[place] = code, box
    pairs = [(i, j) for j in range(len(found)) for i in range(j)]
    for place, (i, j) in enumerate(pairs):
        triples[place] = (i, RELATIONS.index(relation(boxes[i], boxes[j])), j)
    return Scene(objects, boxes, triples)


def relation(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> str:
    """How one box lies to another: inside or around it, else by the larger of the distances of their
    centres."""
    if (first[:2] >= second[:2]).all() and (first[2:] <= second[2:]).all():
        return "inside"
    if (first[:2] <= second[:2]).all() and (first[2:] >= second[2:]).all():
        return "around"
    right, down = (first[:2] + first[2:] - second[:2] - second[2:]).tolist()
    if abs(right) > abs(down):
        return "left of" if right < 0 else "right of"
    return "above" if down < 0 else "below"


def _masks(traits: Traits, codes: Codes) -> list[tuple[str, Mask]]:
    """Name and mask of each object that may be there."""
    eyes = _any(codes, _EYES)
    columns = np.flatnonzero(eyes.any(0))
    right: Mask = np.arange(codes.shape[1]) > (columns.min(initial=len(codes)) + columns.max(initial=0)) / 2
    return [
        (f"{traits.hair} hair", _any(codes, ("hair",))),
        (f"{traits.skin} face", _any(codes, _IN_FACE)),
        ("left eye", eyes & ~right),
        ("right eye", eyes & right),
        *((name, _any(codes, (name,))) for name in ("nose", "mouth", "beard", "glasses")),
        (f"{traits.clothes} clothes", _any(codes, ("clothes",))),
    ]


def _any(codes: Codes, names: tuple[str, ...]) -> Mask:
    return np.isin(codes, [CODES[name] for name in names])


def _box(mask: Mask) -> tuple[float, ...]:
    """Left, top, right and bottom of what is true, as shares of the side; nothing if nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return ()
    ends = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return tuple(float(end) / len(mask) for end in ends)


def _thick(lines: Mask, width: int) -> Mask:
    """Lines of one pixel, made `width` wide."""
    for axis in (0, 1):
        padded = np.pad(
            lines, [(width // 2, width - 1 - width // 2) if at == axis else (0, 0) for at in (0, 1)]
        )
        lines = np.any(np.lib.stride_tricks.sliding_window_view(padded, width, axis), axis=-1)
    return lines
