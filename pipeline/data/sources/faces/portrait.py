"""A whole portrait: painted from the back to the front, at one size or at twice that and averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.faces import features, hair, head
from pipeline.data.sources.faces.canvas import Canvas
from pipeline.data.sources.faces.traits import Traits

_SMALLEST = 256  # below, thin lines need more than one sample a pixel


@dataclass(frozen=True)
class Drawing:
    """A picture [S, S, 3] uint8, and what it shows: codes [F * S, F * S] uint8 (`canvas.PARTS`), F samples a
    pixel along each side."""

    pixels: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.uint8]


def portrait(traits: Traits, side: int) -> npt.NDArray[np.uint8]:
    """[side, side, 3]: a function of the traits and the side alone."""
    return drawing(traits, side).pixels


def drawing(traits: Traits, side: int) -> Drawing:
    """The portrait and its parts: a function of the traits and the side alone."""
    fine = -(-_SMALLEST // side) if side < _SMALLEST else 1
    canvas = Canvas(side * fine)
    _paint(canvas, head.Head(traits))
    picture = canvas.rgb.reshape(side, fine, side, fine, 3).mean((1, 3))
    pixels: npt.NDArray[np.uint8] = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Drawing(pixels, canvas.codes)


def _paint(canvas: Canvas, person: head.Head) -> None:
    traits = person.traits
    head.backdrop(canvas, traits)
    hair.behind(canvas, person)
    head.neck(canvas, traits)
    head.shoulders(canvas, traits)
    head.ears(canvas, person)
    head.skin(canvas, person)
    features.beard(canvas, person)
    features.eyes(canvas, person)
    features.brows(canvas, person)
    features.nose(canvas, person)
    features.mouth(canvas, person)
    hair.front(canvas, person)
    features.glasses(canvas, person)
