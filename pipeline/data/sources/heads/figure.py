"""The ellipsoids that a head is made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.heads.casting import Ellipsoid, picture_of
from pipeline.data.sources.heads.traits import Colour, Head

_WHITE: Colour = (0.96, 0.96, 0.96)
_LIPS: Colour = (0.72, 0.27, 0.25)


def picture(head: Head, side: int) -> npt.NDArray[np.uint8]:
    """The picture [side, side, 3] of a head."""
    return picture_of(parts_of(head), head.azimuth, head.polar, side)


def parts_of(head: Head) -> list[Ellipsoid]:
    """The parts of a head whose face looks along x: the same on both sides of the plane y = 0."""
    w, h = head.width, head.height
    skull = Ellipsoid((0, 0, 0), (1.5, 1.25 * w, 1.7 * h), head.skin)
    mane = Ellipsoid((-0.42, 0, 0.28 * h), (1.42 * head.tuft, 1.3 * w * head.tuft, 1.62 * h), head.hair)
    fringe = Ellipsoid((0.35, 0, 1.18 * h), (1.05, 1.0 * w, 0.68 * h), head.hair)
    nose = Ellipsoid((1.5, 0, -0.1 * h), (head.nose, 0.2, 0.3), head.skin)
    mouth = Ellipsoid((1.26, 0, -0.78 * h), (0.16, 0.4 * w, 0.12), _LIPS)
    neck = Ellipsoid((-0.15, 0, -1.75 * h), (0.7, 0.62, 0.9), head.skin)
    return [skull, mane, fringe, nose, mouth, neck, *_pairs(head)]


def _pairs(head: Head) -> list[Ellipsoid]:
    """The eyes and ears of both sides."""
    w, h = head.width, head.height
    found = []
    for side in (-1, 1):
        found += [
            Ellipsoid((1.2, 0.5 * w * side, 0.28 * h), (0.22, 0.28, 0.2), _WHITE),
            Ellipsoid((1.37, 0.5 * w * side, 0.28 * h), (0.1, 0.14, 0.14), head.eyes),
            Ellipsoid((0.1, 1.24 * w * side, -0.05), (0.3, 0.16, 0.42), head.skin),
        ]
    return found
