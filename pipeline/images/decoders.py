"""Libraries that decode stored pictures faster than PIL does, into memory that is there already.

PIL judges: what a faster library refuses is decoded by PIL, to the same pixels or to the same refusal. So
every pixel, and what counts as damage, is the same on a machine that lacks the library.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Pixels = npt.NDArray[np.uint8]


class Faster(NamedTuple):
    """A faster decoder. package: as pip knows it. module: as Python does. load: imports it, and returns what
    decodes a file into [H, W, C] uint8 of just the picture's size; that raises for whatever else it meets."""

    package: str
    module: str
    load: Callable[[], Callable[[bytes, _Pixels], None]]

    @property
    def installed(self) -> bool:
        """Whether the package is there; it is not imported."""
        return importlib.util.find_spec(self.module) is not None


def decode_faster(format: str, data: bytes, out: _Pixels) -> bool:
    """Decodes a file into `out` and returns whether that was done. What `out` holds otherwise is not
    defined."""
    decode = _loaded(format)
    if decode is None:
        return False
    try:
        decode(data, out)
    except Exception:  # of every kind; PIL has the last word
        return False
    return True


@cache
def _loaded(format: str) -> Callable[[bytes, _Pixels], None] | None:
    try:
        return FASTER[format].load()
    except (KeyError, ImportError):
        return None


def _jpg() -> Callable[[bytes, _Pixels], None]:
    from simplejpeg import decode_jpeg

    def decode(data: bytes, out: _Pixels) -> None:
        # Strict, so that what libjpeg merely warns of goes to PIL. A buffer that is too small is refused, one
        # that is too large is not.
        found = decode_jpeg(data, _COLOURS[out.shape[2]], buffer=out).shape
        if found != out.shape:
            raise ValueError(f"decodes to {found}")

    return decode


def _png() -> Callable[[bytes, _Pixels], None]:
    from imagecodecs import png_decode

    def decode(data: bytes, out: _Pixels) -> None:
        # It has grey pictures as [H, W], and refuses whatever has not just the shape and type of `out`.
        png_decode(data, out=out[..., 0] if out.shape[2] == 1 else out)

    return decode


def _webp() -> Callable[[bytes, _Pixels], None]:
    from imagecodecs import webp_decode

    def decode(data: bytes, out: _Pixels) -> None:
        webp_decode(data, hasalpha=False, out=out)

    return decode


_COLOURS = {1: "GRAY", 3: "RGB"}
FASTER: Mapping[str, Faster] = {
    "png": Faster("imagecodecs", "imagecodecs", _png),
    "jpg": Faster("simplejpeg", "simplejpeg", _jpg),
    "webp": Faster("imagecodecs", "imagecodecs", _webp),
}
