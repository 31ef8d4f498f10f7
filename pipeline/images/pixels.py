"""What pixels mean: more than 8 bits, colour profiles and transparency become plain 8-bit RGB or grey."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageColor

from pipeline.errors import UserError
from pipeline.images.deep import Deep

Remark = Literal["transparent", "alpha", "converted", "profile", "clipped", "frames"]
"""What is said once of all pictures it is true of: parts are transparent, and lie over the background or are
kept; converted to sRGB; its profile cannot be used; values beyond `--range`; it has more frames than the
first."""

FULL_RANGE = (0.0, 65535.0)
"""Of pixels with more than 8 bits, black to white, unless the file states another or one is asked for."""


class Unreadable(Exception):
    """A file that is not a usable picture. The message is the reason."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How pixels are understood.

    range: the values of pixels with more than 8 bits that become black and white; None: 0 and 65535.
    background: RGB, 0 to 255, below transparent parts. alpha: transparency is kept as a fourth channel
    instead.
    """

    range: tuple[float, float] | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    alpha: bool = False


@dataclass(frozen=True)
class Plain:
    """A picture in plain 8 bits. image: RGB or L, or RGBA if alpha is kept. remarks: what was done to it.
    values: the lowest and highest value of its pixels before, if they had more than 8 bits. turned: whether
    its EXIF says that it is stored turned or mirrored."""

    image: Image.Image
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None
    turned: bool = False


def colour(text: str) -> tuple[int, int, int]:
    """The RGB of a colour's name or of #rrggbb; UserError if it is neither."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text.strip())
    except ValueError as error:
        raise UserError(f"--background {text}: must be a colour, such as black, white or #808080") from error
    return red, green, blue


def plain(picture: Image.Image, reading: Reading, deep: Deep | None = None) -> Plain:
    """A picture of any mode in 8 bits, as RGB or grey, in sRGB, with the background under transparent parts;
    or as RGBA if alpha is kept. deep: its pixels, if they have more than 8 bits."""
    profile = picture.info.get("icc_profile")
    remarks: set[Remark] = set()
    values: tuple[float, float] | None = None
    if deep is not None:
        values = (float(deep.values.min()), float(deep.values.max()))
        picture = _from_deep(deep, values, reading, remarks)
        if reading.range is None:  # of the range that the file states, as of any other
            values = values[0] / deep.white * FULL_RANGE[1], values[1] / deep.white * FULL_RANGE[1]
        profile = profile if reading.range is None else None  # measured values have no colour
    picture = _in_srgb(_simple(picture), profile, remarks)
    if picture.mode == "RGBA":
        picture = _with_alpha(picture, reading, remarks)
    elif reading.alpha:
        picture = picture.convert("RGBA")
    return Plain(picture, frozenset(remarks), values)


def _simple(picture: Image.Image) -> Image.Image:
    """The picture in one of the modes L, RGB, RGBA and CMYK."""
    mode = picture.mode
    if "transparency" in picture.info or mode in ("LA", "La", "PA", "RGBa"):
        return picture.convert("RGBA")
    if mode in ("L", "RGB", "RGBA", "CMYK"):
        return picture
    return picture.convert("L" if mode == "1" else "RGB")  # P, YCbCr, HSV


def _with_alpha(picture: Image.Image, reading: Reading, remarks: set[Remark]) -> Image.Image:
    """The RGBA picture as it is, or laid over the background."""
    lowest, _ = picture.getchannel("A").getextrema()
    if cast(int, lowest) < 255:
        remarks.add("alpha" if reading.alpha else "transparent")
    if reading.alpha:
        return picture
    below = Image.new("RGBA", picture.size, reading.background)
    return Image.alpha_composite(below, picture).convert("RGB")


def _from_deep(
    deep: Deep, values: tuple[float, float], reading: Reading, remarks: set[Remark]
) -> Image.Image:
    lowest, highest = values
    if not np.isfinite(values).all():
        raise Unreadable("has pixels that are no finite numbers")
    black, white = reading.range or (0.0, deep.white)
    is_float = deep.values.dtype.kind == "f"
    stated = reading.range is not None or not is_float
    if not stated or (reading.range is None and (lowest < black or highest > white)):
        kind = "floating-point" if is_float else "32-bit"
        raise Unreadable(
            f"{kind} pixels from {lowest:g} to {highest:g} have no stated range; --range LOW:HIGH states it"
        )
    if lowest < black or highest > white:
        remarks.add("clipped")
    clipped = np.clip(deep.values.astype(np.float64), black, white)
    picture = Image.fromarray(_rounded((clipped - black) / (white - black)))
    if deep.alpha is not None:
        picture.putalpha(Image.fromarray(deep.alpha))
    return picture


def _rounded(share: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    bytes_: npt.NDArray[np.uint8] = np.floor(share * 255 + 0.5).astype(np.uint8)
    return bytes_


def _in_srgb(picture: Image.Image, profile: bytes | None, remarks: set[Remark]) -> Image.Image:
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colours = picture.convert("RGB") if alpha is not None else picture
    if profile:
        try:
            transform = _to_srgb(bytes(profile), colours.mode)
        except (ImageCms.PyCMSError, ValueError, OSError, TypeError):
            transform = None
            remarks.add("profile")
        if transform is not None:
            remarks.add("converted")
            mode = colours.mode
            colours = ImageCms.applyTransform(colours, transform) or colours
            colours = colours.convert("L") if mode == "L" else colours
    if colours.mode == "CMYK":
        colours = colours.convert("RGB")  # PIL undoes Adobe's inversion
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


@lru_cache(maxsize=32)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The picture converted from a colour profile to sRGB, relative to white, with black mapped to black;
    None if that changes nothing."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode == "CMYK":
        return transform
    samples = _all_greys() if mode == "L" else _colour_cube()
    after = ImageCms.applyTransform(samples, transform)
    difference = np.asarray(after, np.int16) - np.asarray(samples.convert("RGB"), np.int16)
    return transform if np.abs(difference).max() > 1 else None


def _all_greys() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8)[None])


def _colour_cube() -> Image.Image:
    steps = np.linspace(0, 255, 12).round().astype(np.uint8)
    red, green, blue = np.meshgrid(steps, steps, steps)
    return Image.fromarray(np.stack([red, green, blue], -1).reshape(12, 144, 3))
