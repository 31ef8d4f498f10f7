"""demo:heads: heads in three dimensions, any number, at any size up to 1024, seen from poses that are
known."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.contracts import Field
from pipeline.data.sources.heads.figure import picture
from pipeline.data.sources.heads.traits import head_of
from pipeline.data.sources.source import Listing, Picture, SourceKind, Wanted
from pipeline.errors import UserError

_NAME, POSE = "demo:heads", "pose"
_SIDES = range(16, 1025)
_SIDE, _COUNT, _MOST = 64, 4000, 10_000_000


class HeadsSource:
    """`count` heads; the i-th is a function of (seed, i, side). The class is the colour of the hair; the
    field POSE holds azimuth and polar angle of the camera, in degrees, of the head as it is before any
    mirroring."""

    def __init__(self, count: int, seed: int, side: int) -> None:
        if side not in _SIDES:
            raise UserError(f"{_NAME}: resolution: {side}; {_SIDES[0]} to {_SIDES[-1]} pixels are allowed")
        if not 1 <= count <= _MOST:
            raise UserError(f"{_NAME}: count: {count}; 1 to {_MOST} are allowed")
        self.title, self._seed, self._side = _NAME, seed, side
        names = [f"head-{number:08d}" for number in range(count)]
        labels = [head_of(seed, number).hair_name for number in range(count)]
        fields = [Field(POSE, "array", (2,), "float32")]
        self.listing = Listing(names, [side] * count, labels, fields=fields)

    def picture(self, number: int) -> Picture:
        head = head_of(self._seed, number)
        pose = np.array([head.azimuth, head.polar], np.float32)
        return Picture(Image.fromarray(picture(head, self._side)), head.about(), extra={POSE: pose})

    def size(self, number: int) -> tuple[int, int]:
        return (self._side, self._side)


def _open(source: str, wanted: Wanted) -> HeadsSource:
    count = _COUNT if wanted.count is None else wanted.count
    return HeadsSource(count, wanted.seed, _SIDE if wanted.side is None else wanted.side)


KIND = SourceKind(_NAME, lambda source: source == _NAME, _open, side=_SIDE)
