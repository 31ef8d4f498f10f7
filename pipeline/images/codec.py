"""The formats in which pictures are stored, and the one codec that writes and reads them.

Shards, grids, sheets, cards and the board use it. Pictures of any kind, as users bring them, are read by
`normalised` instead.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pipeline.errors import UserError
from pipeline.images.decoders import decode_faster
from pipeline.images.kinds import JPEG, PNG, WEBP, Kind
from pipeline.images.pixels import Unreadable
from pipeline.images.pngs import SIGNATURE, lacks_rows

Pixels = npt.NDArray[np.uint8]
FormatName = Literal["png", "jpg", "webp"]
Effort = Literal["fast", "small"]
"""What an encoder without loss saves: time (pictures that are made by the thousand) or bytes (data sets that
are written once and read for months)."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""PIL's mode of a picture, by its number of channels."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Size(NamedTuple):
    """The size that a picture's header states, in pixels. plain: it has 8 bits a channel and is grey, RGB or
    RGBA. alpha: it is RGBA."""

    width: int
    height: int
    plain: bool
    alpha: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A format in which pictures are stored.

    kind: the kind of such files. suffixes: the endings of file names that ask for it. quality: the one that
    is used if none is asked for, 1 to 100; None: the format is always lossless. grey: whether it can hold a
    single channel. alpha: whether it can hold a fourth one. longest: the most pixels a side. options: those
    of PIL for a quality and an effort. header: reads the size that a file states.
    """

    kind: Kind
    suffixes: tuple[str, ...]
    quality: int | None
    grey: bool
    alpha: bool
    longest: int
    options: Callable[[int, Effort], dict[str, Any]]
    header: Callable[[bytes], Size]


def encode(
    picture: Pixels | Image.Image, format: FormatName, quality: int | None = None, effort: Effort = "fast"
) -> bytes:
    """A picture, [H, W, C] uint8 (C 1: grey, 3: RGB, 4: RGBA, not in jpg) or PIL's, as the bytes of an image
    file.

    A function of the pixels and of the versions of PIL and its codecs. quality: 1 to 100 for jpg (95 unless
    given; colour is not subsampled) and webp (90 unless given; 100 is lossless); png is always lossless.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    elif picture.info:
        # PIL would store what it knows of where pixels came from: of converted ones a profile with the time.
        picture = picture.copy()
        picture.info.clear()
    known = FORMATS[format]
    chosen = (known.quality or 0) if quality is None else quality
    options = known.options(chosen, effort)
    if picture.mode == "RGBA" and format == "webp":
        options["exact"] = True  # colours below full transparency, too
    buffer = io.BytesIO()
    picture.save(buffer, known.kind.name, **options)
    return buffer.getvalue()


def decode(data: bytes, format: str, channels: int) -> Tensor:
    """A stored picture as [H, W, channels] uint8. Errors: Unreadable."""
    size = header_size(data, format)
    pixels = np.empty((size.height, size.width, channels), np.uint8)
    decode_into(pixels, data, format)
    return torch.from_numpy(pixels)


def decode_into(out: Pixels, data: bytes, format: str) -> None:
    """Decodes a stored picture into `out`, [H, W, C] uint8 without gaps, of the size that its header states.
    Errors: Unreadable, after which what `out` holds is not defined."""
    if decode_faster(format, data, out):
        return
    try:
        pixels = _with_pil(data, format, out.shape[2])
    except UnidentifiedImageError as error:
        raise Unreadable("cannot be decoded (its headers are damaged)") from error
    except Exception as error:  # decoders raise of every kind on broken files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Unreadable(f"cannot be decoded ({reason:.80})") from error
    if pixels.shape != out.shape:
        raise Unreadable(f"cannot be decoded (to {pixels.shape}, not {out.shape})")
    if format == "png" and lacks_rows(data, pixels[-1].tobytes()):
        raise Unreadable("cannot be decoded (its pixels end before the last row)")
    out[:] = pixels


def header_size(data: bytes, format: str) -> Size:
    """The size that a stored picture's header states, before a pixel is decoded. Errors: Unreadable."""
    return FORMATS[format].header(data)


def is_picture(path: Path) -> bool:
    """Whether a file name is that of a picture that we write."""
    return path.suffix.lower() in _BY_SUFFIX


def format_of(path: Path) -> FormatName:
    """The format that a picture's file name asks for. Errors: UserError if it is none that we write."""
    format = _BY_SUFFIX.get(path.suffix.lower())
    if format is None:
        raise UserError(f"{path}: not a picture's file name; allowed endings: {', '.join(_BY_SUFFIX)}")
    return format


def greys() -> str:
    """The formats for pictures of one channel, for messages."""
    return ", ".join(name for name, format in FORMATS.items() if format.grey)


def alphas() -> str:
    """The formats for pictures of four channels, for messages."""
    return ", ".join(name for name, format in FORMATS.items() if format.alpha)


def _with_pil(data: bytes, format: str, channels: int) -> Pixels:
    mode = MODES[channels]
    with Image.open(io.BytesIO(data), formats=[FORMATS[format].kind.name]) as picture:
        if format == "jpg" and mode == "L":
            picture.draft(mode, picture.size)  # the brightness that is stored, as the faster decoder has it
        array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return array.reshape(*array.shape[:2], channels)


def _png_options(quality: int, effort: Effort) -> dict[str, Any]:
    # zlib's level 1 is several times as fast as level 4 on photographs, files about 8% larger.
    return {"compress_level": 1 if effort == "fast" else 4}


def _jpg_options(quality: int, effort: Effort) -> dict[str, Any]:
    # Full-resolution colour: a generator learns chroma blocks like any other texture.
    return {"quality": quality, "subsampling": 0}


def _webp_options(quality: int, effort: Effort) -> dict[str, Any]:
    if quality < 100:
        return {"quality": quality, "lossless": False}
    # Without loss, the encoder takes its quality for the effort that it makes.
    return {"quality": 80 if effort == "fast" else 100, "lossless": True}


def _png_size(data: bytes) -> Size:
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise Unreadable("is not a PNG")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return Size(width, height, data[24] == 8 and data[25] in (0, 2, 6), alpha=data[25] == 6)


def _jpg_size(data: bytes) -> Size:
    at = 2
    while data[:2] == b"\xff\xd8" and at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAMES:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            return Size(width, height, plain=data[at + 4] == 8 and data[at + 9] in (1, 3))
        if marker in (0xD9, 0xDA):
            break
        at += 1 if marker == 0xFF else 2 + length  # 0xFF: a fill byte before a marker
    raise Unreadable("is not a JPEG")


def _webp_size(data: bytes) -> Size:
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            return Size(*picture.size, picture.mode in MODES.values(), alpha=picture.mode == "RGBA")
    except Exception as error:  # as in `decode_into`
        raise Unreadable("is not a WebP") from error


NAMES: tuple[FormatName, ...] = get_args(FormatName)
FORMATS: dict[str, Format] = {
    "png": Format(PNG, (".png",), None, True, True, 100_000, _png_options, _png_size),
    "jpg": Format(JPEG, (".jpg", ".jpeg"), 95, True, False, 65_500, _jpg_options, _jpg_size),
    "webp": Format(WEBP, (".webp",), 90, False, True, 16_383, _webp_options, _webp_size),
}
_BY_SUFFIX = {suffix: name for name in NAMES for suffix in FORMATS[name].suffixes}
