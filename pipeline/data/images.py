"""Pictures as people have them -> pictures as a network takes them: one size, one mode, plain 8 bits."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from pipeline.data.pngs import lacks_rows

MOST_SIDE = 16384
MOST_PIXELS = 178_000_000
_KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
FILE_EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)

Filter = Literal["box", "bilinear", "bicubic", "lanczos"]
Format = Literal["png", "jpg", "webp"]
FILTERS: dict[str, Image.Resampling] = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FORMATS = ("png", "jpg", "webp")


class Unreadable(Exception):
    """A file that is no usable picture; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """What every picture becomes: pixels, channels (1 or 3), resize filter, file format and quality."""

    height: int
    width: int
    channels: int = 3
    filter: Filter = "lanczos"
    format: Format = "png"
    quality: int = 95


def load(data: bytes) -> Image.Image:
    """The first frame, upright, as RGB or L; transparency lies over white. Unreadable if it is none."""
    with warnings.catch_warnings():
        # A small file can unfold to gigabytes: the header decides, before a pixel is decoded.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=_KINDS) as picture:
                _check_size(picture)
                picture.load()
                last = (0, picture.height - 1, picture.width, picture.height)
                if picture.format == "PNG" and lacks_rows(data, picture.crop(last).tobytes()):
                    raise Unreadable("its pixels end before the last row")
                return flatten(ImageOps.exif_transpose(picture))
        except Unreadable:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise Unreadable(f"more than {MOST_PIXELS} pixels") from error
        except Exception as error:  # PIL's decoders raise of every kind on broken files
            raise Unreadable(_reason(error)) from error


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) when upright, from the header alone. Unreadable if it is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_KINDS) as picture:
                _check_size(picture)
                turned = picture.getexif().get(0x0112, 1) >= 5
                return (picture.height, picture.width) if turned else picture.size
    except Unreadable:
        raise
    except Exception as error:  # as above
        raise Unreadable(_reason(error)) from error


def flatten(picture: Image.Image) -> Image.Image:
    """Any mode -> "L" or "RGB" with 8 bits a channel, transparency over white."""
    if picture.mode in ("L", "RGB"):
        plain = picture if "transparency" not in picture.info else _over_white(picture)
    elif picture.mode.startswith("I"):
        plain = _from_16_bits(picture)
    elif picture.mode == "1":
        plain = picture.convert("L")
    elif picture.mode == "F":
        raise Unreadable("floating-point pixels have no stated range; save it with 8 or 16 bits")
    elif picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        plain = _over_white(picture)
    else:
        plain = picture.convert("RGB")  # P, CMYK (PIL undoes Adobe's inversion), YCbCr, HSV
    return plain


def fit(picture: Image.Image, target: Target) -> Image.Image:
    """Centre-cropped to the target's aspect, resized by its filter, in its mode."""
    picture = picture.convert("L" if target.channels == 1 else "RGB")
    width, height = picture.size
    wanted = min(width, max(1, round(height * target.width / target.height)))
    tall = min(height, max(1, round(width * target.height / target.width)))
    left, top = (width - wanted) // 2, (height - tall) // 2
    if (wanted, tall) != picture.size:
        picture = picture.crop((left, top, left + wanted, top + tall))
    if picture.size != (target.width, target.height):
        picture = picture.resize((target.width, target.height), FILTERS[target.filter])
    return picture


def is_enlarged(picture: Image.Image, target: Target) -> bool:
    """Whether `fit` must invent pixels."""
    return picture.width < target.width or picture.height < target.height


def encode(picture: Image.Image, target: Target) -> bytes:
    """The file's bytes; a function of the pixels and of the versions of PIL and its codecs."""
    settings: dict[str, Any] = {}
    if target.format == "png":
        settings = {"format": "PNG", "compress_level": 4}
    elif target.format == "jpg":
        # Full-resolution colour: a generator learns chroma blocks like any other texture.
        settings = {"format": "JPEG", "quality": target.quality, "subsampling": 0}
    else:
        settings = {"format": "WEBP", "quality": target.quality, "lossless": target.quality == 100}
    buffer = io.BytesIO()
    picture.save(buffer, **settings)
    return buffer.getvalue()


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise Unreadable(
            f"{width}x{height} pixels; at most {MOST_SIDE} a side and {MOST_PIXELS} in all are allowed"
        )


def _over_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _from_16_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise Unreadable("32-bit pixels have no stated range; save it with 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    if "cannot identify image file" in text:
        return "not an image of a known kind"
    return f"{text or type(error).__name__:.120}"
