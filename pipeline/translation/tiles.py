"""Translation of images of any size: in one piece, or in tiles that bound memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Translation, Translator
from pipeline.images.pictures import to_uint8

TILE = 256
"""Pixels of a side of tiles of the input, without what surrounds them."""
OVERLAP = 32
"""Pixels around a tile that it is translated with, at most, unless others are asked for."""


@dataclass(frozen=True)
class Tiling:
    """How images are cut. tile: pixels of a side; 0: not at all. overlap: pixels of the image around each
    tile that it is translated with, and that are then cut off."""

    tile: int
    overlap: int


def tiling_of(translator: Translator, tile: int | None, overlap: int | None) -> Tiling:
    """The tiling as it was asked for, in multiples of what the model takes; None: where it changes little. A
    model whose pixels depend on the whole image translates it in one piece."""
    reach, divisor = translator.translation.reach, translator.translation.divisor
    if tile is None:
        tile = 0 if reach is None else TILE
    if overlap is None:
        overlap = OVERLAP if reach is None else min(reach, OVERLAP)
    return Tiling(*(side + -side % divisor for side in (tile, overlap)))


def translated(
    translator: Translator, image: Tensor, seed: int, tiling: Tiling, holes: Tensor | None = None
) -> Tensor:
    """The uint8 translation [C', H * scale, W * scale] of an image [C, H, W]: floats in [-1, 1], or uint8 of
    a label map. holes: [1, H, W].

    With an overlap of the model's reach or more, tiles change nothing but rounding.
    """
    scale = translator.translation.scale
    height, width = image.shape[1:]
    result: Tensor | None = None
    for rows in _spans(height, tiling.tile):
        for columns in _spans(width, tiling.tile):
            around = [_around(span, side, tiling) for span, side in ((rows, height), (columns, width))]
            part = _whole(translator, image, holes, around, seed)
            if result is None:
                # As pictures are encoded, so that a large one is not copied for it.
                result = torch.empty((height * scale, width * scale, len(part)), dtype=torch.uint8)
            inner = [
                slice((span.start - outer.start) * scale, (span.stop - outer.start) * scale)
                for span, outer in zip((rows, columns), around, strict=True)
            ]
            place = [slice(span.start * scale, span.stop * scale) for span in (rows, columns)]
            result[place[0], place[1]] = part[:, inner[0], inner[1]].permute(1, 2, 0)
    assert result is not None, "an image has pixels"
    return result.permute(2, 0, 1)


def _whole(
    translator: Translator, image: Tensor, holes: Tensor | None, around: Sequence[slice], seed: int
) -> Tensor:
    """The uint8 translation of a part, whose sides are brought to what the model takes by repeating its last
    pixels."""
    how = translator.translation
    rows, columns = around
    height, width = rows.stop - rows.start, columns.stop - columns.start
    more = [_taken(side, how) - side for side in (height, width)]

    def cut(x: Tensor) -> Tensor:
        part = x[None, :, rows, columns]
        if not any(more):
            return part
        padded = F.pad(part.float(), (0, more[1], 0, more[0]), mode="replicate")
        return padded.to(part.dtype)

    made = translator.translate(cut(image), [seed], None if holes is None else cut(holes))
    return to_uint8(made[0, :, : height * how.scale, : width * how.scale]).cpu()


def _taken(side: int, how: Translation) -> int:
    """The side that the model takes in the place of this one."""
    side = max(side, how.least)
    return side + -side % how.divisor


def _spans(side: int, tile: int) -> Iterator[slice]:
    step = tile or side
    for start in range(0, side, step):
        yield slice(start, min(start + step, side))


def _around(span: slice, side: int, tiling: Tiling) -> slice:
    return slice(max(span.start - tiling.overlap, 0), min(span.stop + tiling.overlap, side))
