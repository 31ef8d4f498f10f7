"""Pictures as people have them -> pictures as a network takes them: one size, one mode, plain 8 bits."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from PIL import Image, ImageOps, features

from pipeline.images.codec import FormatName
from pipeline.images.kinds import Kind, kind_of
from pipeline.images.pixels import Plain, Reading, plain
from pipeline.images.pixels import Unreadable as Unreadable
from pipeline.images.pngs import lacks_rows

MOST_SIDE = 16384
MOST_PIXELS = 178_000_000
PLAIN = Reading()
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")
_OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}

Filter = Literal["box", "bilinear", "bicubic", "lanczos"]
FILTERS: dict[str, Image.Resampling] = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What every picture is made into: its size, its channels (1 or 3), the filter that resizes it, and the
    format and quality of its file."""

    height: int
    width: int
    channels: int = 3
    filter: Filter = "lanczos"
    format: FormatName = "png"
    quality: int = 95


def read_picture(data: bytes, reading: Reading = PLAIN) -> Plain:
    """The first frame of a picture, upright, as RGB or L. Unreadable if the bytes are no picture."""
    with _opened(data) as picture:
        _check_size(picture)
        is_deep = picture.mode in ("RGB", "RGBA") and ";16" in _rawmode(picture)
        more = _has_more_frames(picture)
        picture.load()
        last = (0, picture.height - 1, picture.width, picture.height)
        if picture.format == "PNG" and lacks_rows(data, picture.crop(last).tobytes()):
            raise Unreadable("its pixels end before the last row")
        low_bytes = _other_byte(data) if is_deep else None
        upright = plain(ImageOps.exif_transpose(picture), reading, low_bytes)
        return replace(upright, remarks=upright.remarks | {"frames"}) if more else upright


def load(data: bytes) -> Image.Image:
    """The image that `read_picture` gives."""
    return read_picture(data).image


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) when upright, from the header alone. Unreadable if it is no picture."""
    with _opened(data) as picture:
        _check_size(picture)
        turned = picture.getexif().get(0x0112, 1) >= 5
        return (picture.height, picture.width) if turned else picture.size


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Opens a picture with PIL as the kind that its bytes show; whatever goes wrong with it becomes
    Unreadable."""
    kind = kind_of(data)
    if kind is None:
        raise Unreadable("not an image of a known kind")
    _make_ready(kind)
    with warnings.catch_warnings():
        # A small file can unfold to gigabytes: the header decides, before a pixel is decoded.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=[kind.name]) as picture:
                yield picture
        except Unreadable:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise Unreadable(f"more than {MOST_PIXELS} pixels") from error
        except Exception as error:  # PIL's decoders raise of every kind on broken files
            raise Unreadable(_reason(error)) from error


@cache
def _make_ready(kind: Kind) -> None:
    """Raises Unreadable, with what is missing, if pictures of this kind cannot be read here."""
    if kind.feature is not None and not features.check(kind.feature):
        raise Unreadable(f"is {kind.name}, which this installation of Pillow was built without")
    if kind.name == "HEIF":
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise Unreadable("is HEIC; reading it needs pip install 'hrgan[heic]'") from error
        register_heif_opener()


def _has_more_frames(picture: Image.Image) -> bool:
    with suppress(Exception):  # a later frame may be broken; the first is what counts
        return picture.format in _ANIMATED and bool(getattr(picture, "is_animated", False))
    return False


def _rawmode(picture: Image.Image) -> str:
    """How PIL's decoder unpacks the pixels, such as RGB;16B."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _other_byte(data: bytes) -> Image.Image:
    """The low bytes of a picture with 16 bits a colour. PIL keeps only the high ones, so it is told the other
    byte order."""
    with _opened(data) as picture:
        swapped = []
        for tile in picture.tile:  # type: ignore[attr-defined]
            arguments = tile[3]
            words = arguments if isinstance(arguments, tuple) else (arguments,)
            words = (words[0][:-3] + _OTHER_ORDER[words[0][-3:]], *words[1:])
            swapped.append(tile._replace(args=words if isinstance(arguments, tuple) else words[0]))
        picture.tile = swapped  # type: ignore[attr-defined]
        picture.load()
        return ImageOps.exif_transpose(picture)


def fit(picture: Image.Image, target: Target, resampling: Image.Resampling | None = None) -> Image.Image:
    """Crops a picture around its centre to the target's aspect ratio, resizes it with the target's filter (or
    another), and converts it to the target's mode."""
    picture = picture.convert("L" if target.channels == 1 else "RGB")
    width, height = picture.size
    wanted = min(width, max(1, round(height * target.width / target.height)))
    tall = min(height, max(1, round(width * target.height / target.width)))
    left, top = (width - wanted) // 2, (height - tall) // 2
    if (wanted, tall) != picture.size:
        picture = picture.crop((left, top, left + wanted, top + tall))
    if picture.size != (target.width, target.height):
        chosen = FILTERS[target.filter] if resampling is None else resampling
        picture = picture.resize((target.width, target.height), chosen)
    return picture


def is_enlarged(picture: Image.Image, target: Target) -> bool:
    """Whether `fit` must invent pixels."""
    return picture.width < target.width or picture.height < target.height


def _check_size(picture: Image.Image) -> None:
    width, height = picture.size
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise Unreadable(
            f"{width}x{height} pixels; at most {MOST_SIDE} a side and {MOST_PIXELS} in all are allowed"
        )


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    if "cannot identify image file" in text:
        return "not an image of a known kind"
    return f"{text or type(error).__name__:.120}"
