"""The settings of `prepare`, checked: sizes, formats, and how pixels are understood."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data.sources.label_rows import Absent
from pipeline.data.sources.source import Source
from pipeline.errors import UserError
from pipeline.images.codec import FORMATS, FormatName, greys
from pipeline.images.normalised import FILTERS, MOST_SIDE, Filter, Unreadable
from pipeline.images.pixels import Reading, colour
from pipeline.words import printable


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `prepare` makes of a source: everything that the bytes depend on, beside the source itself.

    resolution: pixels a side; or height and width; without either, the size that all pictures share (32 and
    256 for the demos). channels: 1 (grey) or 3 (RGB). labels, label_column, caption_column, on_absent: as
    `sources.classes` has them; a set of one class gets none. class_names: a file of what classes are called
    (`sources.class_names`). follow_links: in a folder, also to folders and out of it. range, background: as
    `Reading` has them. shard_size: pictures a shard. seed: of the shuffle and of the demos. count: at most
    this many pictures, drawn by `seed`. on_unreadable: whether a picture that cannot be read is left out or
    ends the call. pyramid: every lower resolution too (`preparing.pyramid`). hold_out: the share of pictures,
    by the hash of their content, that go into a data set of their own, OUT/held-out.
    """

    resolution: int | None = None
    height: int | None = None
    width: int | None = None
    channels: int = 3
    filter: Filter = "lanczos"
    labels: str | Path = "auto"
    label_column: str | None = None
    caption_column: str | None = None
    class_names: str | Path | None = None
    on_absent: Absent = "error"
    follow_links: bool = False
    range: tuple[float, float] | None = None
    background: str = "white"
    format: FormatName = "png"
    quality: int = 95
    shard_size: int = 1000
    seed: int = 0
    count: int | None = None
    on_unreadable: Literal["skip", "error"] = "skip"
    pyramid: bool = False
    hold_out: float = 0.0

    @property
    def sized(self) -> bool:
        """Whether a size was asked for."""
        return self.resolution is not None or self.height is not None

    @property
    def reading(self) -> Reading:
        """How pixels are to be understood; UserError unless range and background are valid."""
        if self.range is not None:
            low, high = self.range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UserError(f"--range {low:g}:{high:g}: must be two numbers, the lower one first")
        return Reading(self.range, colour(self.background))

    def size(self, side: int | None = None) -> tuple[int, int] | None:
        """The (height, width) to make; None: that of the pictures. UserError unless it is allowed.

        side: of a source whose pictures have no size of their own, unless another is asked for.
        """
        if (self.height is None) != (self.width is None):
            raise UserError("height, width: give both, or resolution for square images")
        if self.resolution is not None and self.height is not None:
            raise UserError("resolution: give it, or height and width, not both")
        if self.height is not None and self.width is not None:
            size = (self.height, self.width)
        else:
            side = side if self.resolution is None else self.resolution
            if side is None:
                return None
            size = (side, side)
        if not 4 <= min(size) <= max(size) <= MOST_SIDE:
            raise UserError(f"resolution: {size[1]}x{size[0]}; 4 to {MOST_SIDE} pixels a side are allowed")
        return size

    def check(self) -> None:
        """Raises UserError unless all settings are allowed, alone and together."""
        if self.channels not in (1, 3):
            raise UserError(f"channels: {self.channels}; allowed: 1 (grey), 3 (RGB)")
        if self.filter not in FILTERS:
            raise UserError(f"filter: {self.filter}; allowed: {', '.join(FILTERS)}")
        if self.format not in FORMATS:
            raise UserError(f"format: {self.format}; allowed: {', '.join(FORMATS)}")
        if not 1 <= self.quality <= 100:
            raise UserError(f"quality: {self.quality}; 1 to 100 is allowed")
        if self.channels == 1 and not FORMATS[self.format].grey:
            raise UserError(f"format: {self.format} has no grey; allowed for grey images: {greys()}")
        if self.count is not None and self.count < 1:
            raise UserError(f"count: {self.count}; must be at least 1")
        if not 0 <= self.hold_out < 1:
            raise UserError(f"hold_out: {self.hold_out:g}; a share of 0 up to, but less than, 1 is allowed")
        if self.shard_size < 1:
            raise UserError(f"shard_size: {self.shard_size}; must be at least 1 sample")


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
