"""Pictures as people have them -> pictures as a network takes them: one size, one mode, plain 8 bits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps, features

from pipeline.images.codec import MODES, FormatName
from pipeline.images.deep import deep_pixels, rawmode
from pipeline.images.kinds import Kind, kind_of
from pipeline.images.pixels import Plain, Reading, plain
from pipeline.images.pixels import Unreadable as Unreadable
from pipeline.images.pngs import lacks_rows

MOST_SIDE = 16384
MOST_PIXELS = 178_000_000
PLAIN = Reading()
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF", "HEIF")
_TURNED = range(2, 9)  # values of EXIF's orientation, all but upright

Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)
"""How a picture of another shape comes to the target's: cut around its centre, with borders, or distorted."""

Filter = Literal["box", "bilinear", "bicubic", "lanczos"]
FILTERS: dict[str, Image.Resampling] = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What every picture is made into: its size, its channels (1, 3, or 4 with alpha), the filter that
    resizes it, the format and quality of its file, and how it comes to its shape. background: RGB, 0 to 255,
    of borders, which are transparent where there is alpha, and of what is transparent anyway."""

    height: int
    width: int
    channels: int = 3
    filter: Filter = "lanczos"
    format: FormatName = "png"
    quality: int = 95
    fit: Fit = "crop"
    background: tuple[int, int, int] = PLAIN.background


def read_picture(data: bytes, reading: Reading = PLAIN) -> Plain:
    """The first frame of a picture, upright, as RGB or L, or RGBA if alpha is kept. Unreadable if the bytes
    are no picture."""
    with _opened(data) as picture:
        _check_size(picture)
        more, unpacked = _has_more_frames(picture), rawmode(picture)
        picture.load()
        turned = picture.getexif().get(0x0112) in _TURNED
        last = (0, picture.height - 1, picture.width, picture.height)
        if picture.format == "PNG" and lacks_rows(data, picture.crop(last).tobytes()):
            raise Unreadable("its pixels end before the last row")
        upright = ImageOps.exif_transpose(picture)
        made = plain(upright, reading, deep_pixels(data, picture, upright, unpacked))
        made = replace(made, turned=turned)
        return replace(made, remarks=made.remarks | {"frames"}) if more else made


def read_codes(data: bytes) -> Image.Image:
    """A picture of one channel of 8 bits as L, whose values are its own or those of its palette's entries.
    Unreadable for any other."""
    with _opened(data) as picture:
        _check_size(picture)
        if picture.mode not in ("L", "P", "1"):
            raise Unreadable(f"has mode {picture.mode}; a label map has one channel of 8 bits")
        picture.load()
        return Image.fromarray(np.asarray(picture).astype(np.uint8))


def load(data: bytes) -> Image.Image:
    """The image that `read_picture` gives."""
    return read_picture(data).image


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) when upright, from the header alone. Unreadable if it is no picture."""
    with _opened(data) as picture:
        _check_size(picture)
        # PIL gives the size of a TIFF turned already.
        turned = picture.format != "TIFF" and picture.getexif().get(0x0112, 1) >= 5
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
        # A small file can unfold to gigabytes: `_check_size` decides by the header, before a pixel is
        # decoded. PIL would warn from half of its own limit on, and refuses where it decodes at once.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=[kind.name]) as picture:
                yield picture
        except Unreadable:
            raise
        except Image.DecompressionBombError as error:
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


def fit(picture: Image.Image, target: Target, resampling: Image.Resampling | None = None) -> Image.Image:
    """Brings a picture to the target's shape as `target.fit` says, resizes it with the target's filter (or
    another), and converts it to the target's mode."""
    picture = picture.convert(MODES[target.channels])
    if target.fit == "crop":
        picture = _cropped(picture, target)
    size = _inside(picture.size, target) if target.fit == "pad" else (target.width, target.height)
    if picture.size != size:
        chosen = FILTERS[target.filter] if resampling is None else resampling
        picture = picture.resize(size, chosen)
    return _bordered(picture, target)


def is_enlarged(picture: Image.Image, target: Target) -> bool:
    """Whether `fit` must invent pixels."""
    less = (picture.width < target.width, picture.height < target.height)
    return all(less) if target.fit == "pad" else any(less)


def _cropped(picture: Image.Image, target: Target) -> Image.Image:
    """The largest part around the centre that has the target's aspect ratio."""
    width, height = picture.size
    wanted = min(width, max(1, round(height * target.width / target.height)))
    tall = min(height, max(1, round(width * target.height / target.width)))
    left, top = (width - wanted) // 2, (height - tall) // 2
    if (wanted, tall) == picture.size:
        return picture
    return picture.crop((left, top, left + wanted, top + tall))


def _inside(size: tuple[int, int], target: Target) -> tuple[int, int]:
    """The largest (width, height) of the aspect ratio of `size` that the target holds."""
    scale = min(target.width / size[0], target.height / size[1])
    width, height = (max(1, round(side * scale)) for side in size)
    return min(width, target.width), min(height, target.height)


def _bordered(picture: Image.Image, target: Target) -> Image.Image:
    """The picture in the middle of the target. What is fully transparent has the colour of the background:
    what lies there otherwise nobody has seen, and a network would learn it."""
    if target.channels != 4 and picture.size == (target.width, target.height):
        return picture
    below = Image.new("RGBA", (target.width, target.height), (*target.background, 0)).convert(picture.mode)
    at = (target.width - picture.width) // 2, (target.height - picture.height) // 2
    mask = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 0)) if target.channels == 4 else None
    below.paste(picture, at, mask)
    return below


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
