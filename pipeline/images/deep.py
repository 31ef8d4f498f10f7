"""Pixels with more than 8 bits as arrays: PIL by itself keeps no more than 8 bits of colours."""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
# The magic of pgm and ppm, width, height and largest value, with blanks and comments between them.
_NETPBM = re.compile(rb"P([56])" + rb"(?:\s+|#[^\r\n]*[\r\n])+(\d{1,10})" * 3 + rb"\s")
_GREY_ALPHA, _RGBA = 4, 6  # colour types of PNG
_IHDR = slice(12, 29)  # the chunk's name and content, behind the signature and its length


@dataclass(frozen=True)
class Deep:
    """Pixels with more than 8 bits. values: [H, W] or [H, W, 3], numbers of any type, of which 0 is black.
    white: the one that is white unless another is asked for. alpha: [H, W] uint8, if there is any."""

    values: npt.NDArray[Any]
    white: float = 65535.0
    alpha: npt.NDArray[np.uint8] | None = None


def rawmode(picture: Image.Image) -> str:
    """How PIL unpacks the pixels of a picture that is not loaded yet, such as RGB;16B."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def deep_pixels(data: bytes, picture: Image.Image, upright: Image.Image, unpacked: str) -> Deep | None:
    """The pixels of the file `data`, upright, if they have more than 8 bits; else None.

    picture: the file as PIL has loaded it. upright: the same, turned. unpacked: its `rawmode`.
    """
    if picture.format == "PPM":
        return _netpbm(data, picture)
    key = picture.info.get("transparency")  # the one colour that is transparent
    if upright.mode.startswith("I") or upright.mode == "F":
        values = np.asarray(upright)
        return Deep(values, alpha=_all_but(values, key))
    if picture.mode not in ("RGB", "RGBA") or ";16" not in unpacked:
        return None
    if unpacked.startswith("LA"):
        return _grey_alpha(data)
    high: npt.NDArray[Any] = np.asarray(upright, np.uint16)
    both: npt.NDArray[Any] = high * 256 + np.asarray(_other_byte(data, str(picture.format)))
    if both.shape[2] == 4:
        return Deep(both[..., :3], alpha=_eight_bits(both[..., 3]))
    return Deep(both, alpha=_all_but(both, key))


def _other_byte(data: bytes, kind: str) -> Image.Image:
    """The low bytes of a picture with 16 bits a colour. PIL keeps only the high ones, so it is told the other
    byte order."""
    with Image.open(io.BytesIO(data), formats=[kind]) as picture:
        swapped = []
        for tile in picture.tile:
            arguments = tile[3]
            words = arguments if isinstance(arguments, tuple) else (arguments,)
            words = (words[0][:-3] + _OTHER_ORDER[words[0][-3:]], *words[1:])
            swapped.append(tile._replace(args=words if isinstance(arguments, tuple) else words[0]))
        picture.tile = swapped
        picture.load()
        return ImageOps.exif_transpose(picture)


def _grey_alpha(png: bytes) -> Deep:
    """A PNG of grey and alpha with 16 bits each, which PIL has no way to unpack. Its rows are those of RGBA
    with 8 bits, filters included, so it is read as such: R and G are the bytes of grey, B and A of alpha."""
    header = bytearray(png[_IHDR])
    assert (header[12], header[13]) == (16, _GREY_ALPHA)
    header[12], header[13] = 8, _RGBA
    as_rgba = png[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + png[33:]
    with Image.open(io.BytesIO(as_rgba), formats=["PNG"]) as picture:
        four: npt.NDArray[Any] = np.asarray(ImageOps.exif_transpose(picture), np.uint16)
    return Deep(four[..., 0] * 256 + four[..., 1], alpha=_eight_bits(four[..., 2] * 256 + four[..., 3]))


def _netpbm(data: bytes, picture: Image.Image) -> Deep | None:
    """The numbers in a binary pgm or ppm as they are: PIL stretches them to its own range, and those of
    colours to 8 bits."""
    match = _NETPBM.match(data)
    if match is None or int(match[4]) < 256:
        return Deep(np.asarray(picture)) if picture.mode == "I" else None  # written in decimals
    shape = (picture.height, picture.width, 3 if match[1] == b"6" else 1)
    values = np.frombuffer(data, ">u2", int(np.prod(shape)), match.end()).reshape(shape)
    return Deep(values if match[1] == b"6" else values[..., 0], white=float(match[4]))


def _all_but(values: npt.NDArray[Any], key: Any) -> npt.NDArray[np.uint8] | None:
    if key is None:
        return None
    seen = values != np.asarray(key)
    return np.where(seen.any(-1) if seen.ndim == 3 else seen, np.uint8(255), np.uint8(0))


def _eight_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    eight: npt.NDArray[np.uint8] = np.floor(values / 65535 * 255 + 0.5).astype(np.uint8)
    return eight
