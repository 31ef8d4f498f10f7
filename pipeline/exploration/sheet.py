"""Contact sheets: labelled images in rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pipeline.errors import UserError
from pipeline.images.codec import FORMATS, MODES, Pixels, format_of
from pipeline.images.pictures import write_picture

LEAST_SIDE = 64
"""The smallest side of a cell, in pixels. Smaller images are enlarged by a whole factor, by repeating
pixels."""
MOST_PIXELS = 400_000_000
_GAP, _MARGIN, _TEXT = 2, 6, 12


@dataclass(frozen=True)
class Sheet:
    """A contact sheet. images: [rows * columns, C, H, W] uint8, row by row. rows, columns: a label for each
    row and column. title: the line at the top."""

    images: Tensor
    rows: Sequence[str]
    columns: Sequence[str]
    title: str

    def pixels(self) -> Pixels:
        """The sheet, [H, W, C] uint8, with black text on white."""
        font = ImageFont.load_default(_TEXT)
        cells = enlarged(self.images)
        count, channels, height, width = cells.shape
        assert count == len(self.rows) * len(self.columns)
        left = max((_wide(font, row) for row in self.rows), default=0) + 2 * _MARGIN
        step = max([width, *(_wide(font, column) + _MARGIN for column in self.columns)]) + _GAP
        head = 2 * (_TEXT + _MARGIN) + _MARGIN
        across = max(left + step * len(self.columns), _wide(font, self.title) + 2 * _MARGIN)
        size = (across, head + (height + _GAP) * len(self.rows))
        canvas = Image.new(MODES[channels], size, "white")
        draw = ImageDraw.Draw(canvas)
        draw.text((_MARGIN, _MARGIN), self.title, "black", font)
        for j, column in enumerate(self.columns):
            draw.text((left + step * j, head - _TEXT - _MARGIN), column, "black", font)
        for i, row in enumerate(self.rows):
            top = head + (height + _GAP) * i
            draw.text((_MARGIN, top + (height - _TEXT) // 2), row, "black", font)
            for j in range(len(self.columns)):
                canvas.paste(_picture(cells[i * len(self.columns) + j]), (left + step * j, top))
        return np.asarray(canvas).reshape(size[1], size[0], channels)

    def write(self, out: Path) -> None:
        """Publishes the sheet at `out`, whose file extension determines the format."""
        write_picture(out, self.pixels())


def check_sheet(out: Path, rows: int, columns: int, height: int, width: int) -> None:
    """Raises UserError, before any work is done, for a picture that is too large for its format or for
    viewers."""
    check_file(out)
    longest = FORMATS[format_of(out)].longest
    scale = factor(height, width)
    # 100 pixels for labels.
    high, wide = rows * (height * scale + _GAP) + 100, columns * (width * scale + _GAP) + 100
    if max(high, wide) > longest or high * wide > MOST_PIXELS:
        raise UserError(
            f"{out}: the picture would have about {wide}x{high} pixels; at most {longest} a side and "
            f"{MOST_PIXELS} in all are allowed: ask for fewer rows or columns"
        )


def check_file(out: Path) -> None:
    """Raises UserError if `out` is a folder."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give the name of a picture, such as {out}.png")


def enlarged(images: Tensor) -> Tensor:
    """[N, C, H, W] with each pixel repeated until the shorter side has at least LEAST_SIDE pixels."""
    scale = factor(images.shape[2], images.shape[3])
    return images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def factor(height: int, width: int) -> int:
    """The factor by which images of this size are enlarged."""
    return -(-LEAST_SIDE // min(height, width))


def _picture(image: Tensor) -> Image.Image:
    pixels = image.permute(1, 2, 0).contiguous().to(torch.uint8).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _wide(font: ImageFont.ImageFont | ImageFont.FreeTypeFont, text: str) -> int:
    return int(font.getlength(text)) + 1
