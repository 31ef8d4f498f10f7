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

Remark = Literal["transparent", "converted", "profile", "clipped", "frames"]
"""What is said once of all pictures it is true of: parts are transparent; converted to sRGB; its profile
cannot be used; values beyond `--range`; it has more frames than the first."""

FULL_RANGE = (0.0, 65535.0)
"""Of pixels with more than 8 bits, black to white, unless another is asked for."""


class Unreadable(Exception):
    """A file that is not a usable picture. The message is the reason."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How pixels are understood.

    range: the values of pixels with more than 8 bits that become black and white; None: 0 and 65535.
    background: RGB, 0 to 255, below transparent parts.
    """

    range: tuple[float, float] | None = None
    background: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True)
class Plain:
    """A picture in plain 8 bits. image: RGB or L. remarks: what was done to it. values: the lowest and
    highest value of its pixels before, if they had more than 8 bits."""

    image: Image.Image
    remarks: frozenset[Remark] = frozenset()
    values: tuple[float, float] | None = None


def colour(text: str) -> tuple[int, int, int]:
    """The RGB of a colour's name or of #rrggbb; UserError if it is neither."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text.strip())
    except ValueError as error:
        raise UserError(f"--background {text}: must be a colour, such as black, white or #808080") from error
    return red, green, blue


def plain(picture: Image.Image, reading: Reading, low_bytes: Image.Image | None = None) -> Plain:
    """A picture of any mode in 8 bits, as RGB or grey, in sRGB, with the background under transparent parts.
    low_bytes: the low bytes of a picture with 16 bits a colour, whose high ones `picture` has."""
    profile = picture.info.get("icc_profile")
    deep = _deep_values(picture, low_bytes)
    remarks: set[Remark] = set()
    values = None
    if deep is not None:
        colours = deep[..., :3] if deep.ndim == 3 else deep
        values = (float(colours.min()), float(colours.max()))
        picture = _from_deep(colours, values, reading, remarks)
        if deep.ndim == 3 and deep.shape[2] == 4:
            picture.putalpha(Image.fromarray(_rounded(deep[..., 3] / 65535)))
        profile = profile if reading.range is None else None  # measured values have no colour
    picture = _in_srgb(_simple(picture), profile, remarks)
    if picture.mode == "RGBA":
        picture = _laid_over(picture, reading.background, remarks)
    return Plain(picture, frozenset(remarks), values)


def _simple(picture: Image.Image) -> Image.Image:
    """The picture in one of the modes L, RGB, RGBA and CMYK."""
    mode = picture.mode
    if "transparency" in picture.info or mode in ("LA", "La", "PA", "RGBa"):
        return picture.convert("RGBA")
    if mode in ("L", "RGB", "RGBA", "CMYK"):
        return picture
    return picture.convert("L" if mode == "1" else "RGB")  # P, YCbCr, HSV


def _laid_over(picture: Image.Image, background: tuple[int, int, int], remarks: set[Remark]) -> Image.Image:
    lowest, _ = picture.getchannel("A").getextrema()
    if cast(int, lowest) < 255:
        remarks.add("transparent")
    below = Image.new("RGBA", picture.size, background)
    return Image.alpha_composite(below, picture).convert("RGB")


def _deep_values(picture: Image.Image, low_bytes: Image.Image | None) -> npt.NDArray[Any] | None:
    """The values [H, W] or [H, W, 3 or 4] of pixels with more than 8 bits; None if they have no more."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return np.asarray(picture)
    if low_bytes is not None:
        high: npt.NDArray[Any] = np.asarray(picture, np.uint16)
        both: npt.NDArray[Any] = high * 256 + np.asarray(low_bytes)
        return both
    return None


def _from_deep(
    deep: npt.NDArray[Any], values: tuple[float, float], reading: Reading, remarks: set[Remark]
) -> Image.Image:
    lowest, highest = values
    if not np.isfinite(values).all():
        raise Unreadable("has pixels that are no finite numbers")
    black, white = reading.range or FULL_RANGE
    stated = reading.range is not None or deep.dtype.kind != "f"
    if not stated or (reading.range is None and (lowest < black or highest > white)):
        kind = "floating-point" if deep.dtype.kind == "f" else "32-bit"
        raise Unreadable(
            f"{kind} pixels from {lowest:g} to {highest:g} have no stated range; --range LOW:HIGH states it"
        )
    if lowest < black or highest > white:
        remarks.add("clipped")
    clipped = np.clip(deep.astype(np.float64), black, white)
    return Image.fromarray(_rounded((clipped - black) / (white - black)))


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
