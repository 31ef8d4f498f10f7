"""The settings of `prepare`, checked: sizes, formats, and how pixels are understood."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pipeline.data.sources.source import Source
from pipeline.errors import UserError
from pipeline.images.codec import FORMATS, greys
from pipeline.images.normalised import FILTERS, MOST_SIDE, Unreadable
from pipeline.images.pixels import Reading, colour
from pipeline.words import printable


def asked_size(
    resolution: int | None, height: int | None, width: int | None, side: int | None = None
) -> tuple[int, int] | None:
    """The (height, width) to make; None: that of the pictures. UserError unless it is allowed.

    side: of a source whose pictures have no size of their own, unless another is asked for.
    """
    if (height is None) != (width is None):
        raise UserError("height, width: give both, or resolution for square images")
    if resolution is not None and height is not None:
        raise UserError("resolution: give it, or height and width, not both")
    if height is not None and width is not None:
        size = (height, width)
    else:
        side = side if resolution is None else resolution
        if side is None:
            return None
        size = (side, side)
    if not 4 <= min(size) <= max(size) <= MOST_SIDE:
        raise UserError(f"resolution: {size[1]}x{size[0]}; 4 to {MOST_SIDE} pixels a side are allowed")
    return size


def check_settings(channels: int, filter: str, format: str, quality: int, count: int | None) -> None:
    """Raises UserError unless all settings are allowed, alone and together."""
    if channels not in (1, 3):
        raise UserError(f"channels: {channels}; allowed: 1 (grey), 3 (RGB)")
    if filter not in FILTERS:
        raise UserError(f"filter: {filter}; allowed: {', '.join(FILTERS)}")
    if format not in FORMATS:
        raise UserError(f"format: {format}; allowed: {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise UserError(f"quality: {quality}; 1 to 100 is allowed")
    if channels == 1 and not FORMATS[format].grey:
        raise UserError(f"format: {format} has no grey; allowed for grey images: {greys()}")
    if count is not None and count < 1:
        raise UserError(f"count: {count}; must be at least 1")


def reading_of(range: tuple[float, float] | None, background: str) -> Reading:
    """How pixels are to be understood; UserError unless range and background are valid."""
    if range is not None and not (
        math.isfinite(range[0]) and math.isfinite(range[1]) and range[0] < range[1]
    ):
        raise UserError(f"--range {range[0]:g}:{range[1]:g}: must be two numbers, the lower one first")
    return Reading(range, colour(background))


def common_size(source: Source, title: str) -> tuple[int, int]:
    """The (height, width) that all readable pictures share; if they differ, UserError asks for a
    resolution."""
    first: tuple[str, tuple[int, int]] | None = None
    for name, size in _sizes(source):
        if first is None:
            first = (name, size)
        if size != first[1]:
            raise UserError(
                f"{title}: resolution: must be given, images differ in size ({printable(first[0])} is "
                f"{first[1][0]}x{first[1][1]}, {printable(name)} is {size[0]}x{size[1]})"
            )
    if first is None:
        raise UserError(f"{title}: none of its images can be read")
    return first[1][1], first[1][0]


def _sizes(source: Source) -> Iterator[tuple[str, tuple[int, int]]]:
    for number, name in enumerate(source.listing.names):
        try:
            yield name, source.size(number)
        except Unreadable:
            continue  # named and counted when its turn to be decoded comes
