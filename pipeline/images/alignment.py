"""Faces at one place and size: the square around a face, cut out of its photograph upright.

The law is that of Karras et al. 2018 (progressive growing), appendix C, with the constants of FFHQ (Karras et
al. 2019). Coordinates are pixels, x to the right and y down; a whole number is the middle of a pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from pipeline.images.normalised import FILTERS, Target

Corners = npt.NDArray[np.float64]
"""[4, 2]: the upper left, lower left, lower right and upper right corner of the square around a face."""

_FINER = 4  # pixels a side that are drawn for one of the target
_MOST_DRAWN = 8192  # pixels a side


def corners_of(eyes: npt.NDArray[Any], mouth: npt.NDArray[Any]) -> Corners:
    """The corners [..., 4, 2] for points [..., 2, 2]: the eyes, and the corners of the mouth. The left one is
    the one to the left in the picture, but exchanged pairs are put right: a mirrored face is no face."""
    eye, lips = eyes.mean(-2), mouth.mean(-2)
    across, down = eyes[..., 1, :] - eyes[..., 0, :], lips - eye
    turned = across[..., 0] * down[..., 1] < across[..., 1] * down[..., 0]
    across = np.where(turned[..., None], -across, across)
    x = across - _quarter(down)
    length = np.maximum(np.hypot(*_xy(across)) * 2.0, np.hypot(*_xy(down)) * 1.8)
    x = x * (length / np.hypot(*_xy(x)))[..., None]
    y, centre = _quarter(x), eye + down * 0.1
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y], -2)


def side_of(corners: Corners) -> float:
    """The side of the square, in pixels of the photograph."""
    return float(np.hypot(*(corners[3] - corners[0])))


def align(picture: Image.Image, corners: Corners, target: Target) -> Image.Image:
    """The square of a picture (L, RGB or RGBA) as `target` has it. What lies beyond the picture is its mirror
    image, blurred and fading to its median colour."""
    picture, corners = _shrunk(picture, corners, target)
    border = max(round(side_of(corners) * 0.1), 3)
    picture, corners = _cut(picture, corners, border)
    picture, corners = _mirrored(picture, corners, border)
    finer = max(1, min(_FINER, _MOST_DRAWN // target.width))
    drawn = _drawn(picture, corners, target.width * finer, Image.Resampling.BILINEAR)
    return drawn.resize((target.width, target.height), FILTERS[target.filter]) if finer > 1 else drawn


def align_mask(mask: Image.Image, corners: Corners, target: Target) -> Image.Image:
    """The same square of a mask (L), whose values are kept; 0 beyond it."""
    return _drawn(mask, corners, target.width, Image.Resampling.NEAREST)


def _quarter(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Vectors [..., 2], turned by a quarter from x to y."""
    return np.stack([-vectors[..., 1], vectors[..., 0]], -1)


def _xy(vectors: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return vectors[..., 0], vectors[..., 1]


def _shrunk(picture: Image.Image, corners: Corners, target: Target) -> tuple[Image.Image, Corners]:
    """A picture of which at least two pixels a side are drawn for one of the target, and four at most."""
    factor = int(side_of(corners) / target.width * 0.5)
    if factor <= 1:
        return picture, corners
    size = (max(1, round(picture.width / factor)), max(1, round(picture.height / factor)))
    return picture.resize(size, FILTERS[target.filter]), corners / factor


def _cut(picture: Image.Image, corners: Corners, border: int) -> tuple[Image.Image, Corners]:
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - border, 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + border, picture.size)
    if right - left >= picture.width and bottom - top >= picture.height:
        return picture, corners
    box = (int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))
    return picture.crop(box), corners - (left, top)


def _mirrored(picture: Image.Image, corners: Corners, border: int) -> tuple[Image.Image, Corners]:
    """The picture with as much around it as the square needs, if it comes near the edge."""
    before = np.maximum(border - np.floor(corners.min(0)).astype(int), 0)
    after = np.maximum(np.ceil(corners.max(0)).astype(int) - picture.size + border, 0)
    if max(*before, *after) <= border - 4:
        return picture, corners
    least = round(side_of(corners) * 0.3)
    (left, top), (right, bottom) = np.maximum(before, least), np.maximum(after, least)
    pixels = np.asarray(picture)
    around = ((top, bottom), (left, right), (0, 0))[: pixels.ndim]
    wide = Image.fromarray(np.pad(pixels, around, "reflect"))
    outside = np.maximum(
        _outside(wide.width, left, right)[None, :], _outside(wide.height, top, bottom)[:, None]
    )
    return _faded(wide, outside, side_of(corners) * 0.02), corners + np.array([left, top])


def _outside(length: int, before: int, after: int) -> npt.NDArray[np.float32]:
    """How far out each place lies: 1 at both ends, 0 where the picture begins, less within it."""
    at = np.arange(length, dtype=np.float32)
    return 1 - np.minimum(at / max(before, 1), (length - 1 - at) / max(after, 1))


def _faded(picture: Image.Image, outside: npt.NDArray[np.float32], radius: float) -> Image.Image:
    """A picture blurred outside, and towards its ends its median colour."""
    blurred, planes = picture.filter(ImageFilter.GaussianBlur(radius)), []
    blur, fade = np.clip(outside * 3 + 1, 0, 1), np.clip(outside, 0, 1)
    for band in picture.getbands():  # one after the other, since floats of a whole picture are large
        values = np.asarray(picture.getchannel(band), np.float32)
        values = values + (np.asarray(blurred.getchannel(band), np.float32) - values) * blur
        values += (np.median(values) - values) * fade
        planes.append(Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)))
    return planes[0] if len(planes) == 1 else Image.merge(picture.mode, planes)


def _drawn(picture: Image.Image, corners: Corners, side: int, resampling: Image.Resampling) -> Image.Image:
    # PIL's pixel begins at a whole number.
    data = tuple((corners + 0.5).ravel().tolist())
    return picture.transform((side, side), Image.Transform.QUAD, data, resampling)
