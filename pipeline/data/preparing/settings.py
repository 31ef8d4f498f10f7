"""The settings of `prepare`, checked: sizes, formats, and how pixels are understood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pipeline.data.preparing.choosing import ALL, Choice
from pipeline.data.preparing.duplicates import MOST_BITS
from pipeline.data.sources.label_rows import Absent
from pipeline.data.sources.source import Source
from pipeline.errors import UserError
from pipeline.images.codec import FORMATS, MODES, FormatName, alphas, greys
from pipeline.images.normalised import FILTERS, FITS, MOST_SIDE, Filter, Fit, Target, Unreadable
from pipeline.images.pixels import Reading, colour
from pipeline.words import printable

LOOKED_AT = 32
"""Pictures, for what should be known before all are made."""

Duplicates = Literal["keep", "report", "drop"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `prepare` makes of a source: everything that the bytes depend on, beside the source itself.

    resolution: pixels a side; or height and width; without either, the size that all pictures share (32
    and 256 for the demos). channels: 1 (grey), 3 (RGB) or 4 (with alpha). labels, label_column,
    caption_column, on_absent: as `sources.classes` has them; a set of one class gets none. class_names:
    a file of what classes are called (`sources.class_names`). image_column, every: as `Wanted` has
    them. follow_links: in a folder, also to folders and out of it. range, background: as `Reading` has
    them. shard_size: pictures a shard. seed: of the shuffle and of the demos. count: at most this many
    pictures, drawn by `seed`. on_unreadable: whether a picture that cannot be read is left out or ends
    the call. pyramid: every lower resolution too (`preparing.pyramid`). hold_out: the share of
    pictures, by the hash of their content, that go into a data set of their own, OUT/held-out. fit: how
    pictures of another shape come to this one. align: a file of landmarks, by which faces come to one
    place instead. choice: what a picture must be like. duplicates: what becomes of near-duplicates,
    which differ in at most `duplicate_bits` of 64 bits. pairs: what each picture is to be made of: a
    source with pictures of the same names, or the half, left or right, of pictures that hold both. maps: a
    source with label maps of the same names. fields: as `Wanted` has them.
    """

    resolution: int | None = None
    height: int | None = None
    width: int | None = None
    channels: int = 3
    filter: Filter = "lanczos"
    labels: str | Path = "auto"
    label_column: str | None = None
    caption_column: str | None = None
    image_column: str | None = None
    every: float = 1.0
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
    fit: Fit = "crop"
    align: Path | None = None
    choice: Choice = ALL
    duplicates: Duplicates = "keep"
    duplicate_bits: int = 2
    pairs: str | None = None
    maps: str | None = None
    fields: tuple[str, ...] = ()

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
        return Reading(self.range, colour(self.background), alpha=self.channels == 4)

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
        if self.channels not in MODES:
            raise UserError(f"channels: {self.channels}; allowed: 1 (grey), 3 (RGB), 4 (RGBA)")
        if self.filter not in FILTERS:
            raise UserError(f"filter: {self.filter}; allowed: {', '.join(FILTERS)}")
        if self.format not in FORMATS:
            raise UserError(f"format: {self.format}; allowed: {', '.join(FORMATS)}")
        if not 1 <= self.quality <= 100:
            raise UserError(f"quality: {self.quality}; 1 to 100 is allowed")
        if self.channels == 1 and not FORMATS[self.format].grey:
            raise UserError(f"format: {self.format} has no grey; allowed for grey images: {greys()}")
        if self.channels == 4 and not FORMATS[self.format].alpha:
            raise UserError(f"format: {self.format} holds no alpha; allowed with --alpha: {alphas()}")
        if self.channels == 4 and self.format == "webp" and self.quality < 100:
            raise UserError(f"quality: {self.quality}; with --alpha, webp must be lossless: --quality 100")
        if self.count is not None and self.count < 1:
            raise UserError(f"count: {self.count}; must be at least 1")
        if not 0 <= self.hold_out < 1:
            raise UserError(f"hold_out: {self.hold_out:g}; a share of 0 up to, but less than, 1 is allowed")
        if self.shard_size < 1:
            raise UserError(f"shard_size: {self.shard_size}; must be at least 1 sample")
        self._check_shape()
        self._check_choice()

    def target(self, height: int, width: int) -> Target:
        """What every picture is made into, at this size."""
        background = self.reading.background
        return Target(
            height, width, self.channels, self.filter, self.format, self.quality, self.fit, background
        )

    def origin(self) -> dict[str, object]:
        """How pictures come to their shape and which are wanted, as the index says it: only what was asked
        for, so that data sets made before these settings are the same."""
        choice = self.choice
        asked = {
            "fit": None if self.fit == "crop" else self.fit,
            "min_side": choice.min_side,
            "max_aspect": choice.max_aspect,
            "min_sharpness": choice.min_sharpness or None,  # at 0 it is measured and leaves nothing out
            "without_duplicates": self.duplicate_bits if self.duplicates == "drop" else None,
        }
        return {key: value for key, value in asked.items() if value is not None}

    def _check_shape(self) -> None:
        if self.fit not in FITS:
            raise UserError(f"fit: {self.fit}; allowed: {', '.join(FITS)}")
        if self.align is None:
            return
        if self.fit != "crop":
            raise UserError(f"--fit {self.fit}: not with --align, which says what is cut out")
        if self.height != self.width or not self.sized:
            raise UserError("--align: makes square images of any size; give it by --resolution")

    def _check_choice(self) -> None:
        choice = self.choice
        if choice.min_side is not None and choice.min_side < 1:
            raise UserError(f"--min-side {choice.min_side}: must be at least 1 pixel")
        if choice.max_aspect is not None and not 1 <= choice.max_aspect < math.inf:
            raise UserError(
                f"--max-aspect {choice.max_aspect:g}: the longer side over the shorter one, at least 1"
            )
        if choice.min_sharpness is not None and not 0 <= choice.min_sharpness < math.inf:
            raise UserError(f"--min-sharpness {choice.min_sharpness:g}: must be a number, at least 0")
        if self.duplicates not in get_args(Duplicates):
            raise UserError(f"--duplicates {self.duplicates}; allowed: {', '.join(get_args(Duplicates))}")
        if not 0 <= self.duplicate_bits <= MOST_BITS:
            raise UserError(f"--duplicate-bits {self.duplicate_bits}: 0 to {MOST_BITS} are allowed")


def say_shape(source: Source, numbers: Sequence[int], target: Target, say: Callable[[str], object]) -> None:
    """Warns, before many pictures are made, if most of these are wide and the images will be upright, or the
    reverse: people may have meant width x height."""
    if target.height == target.width:
        return
    sizes = []
    for number in numbers:
        with suppress(Unreadable):
            sizes.append(source.size(number))
    is_upright = target.height > target.width
    other = sum(width > height if is_upright else width < height for width, height in sizes)
    if other * 2 > len(sizes):
        made, shown = ("upright", "wide") if is_upright else ("wide", "upright")
        say(
            f"height {target.height} and width {target.width} make {made} images, but most pictures are "
            f"{shown} ({other} of the first {len(sizes)}): if that is not meant, give "
            f"--size {target.width}x{target.height}"
        )


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


def first_of(source: Source, title: str) -> tuple[int, int]:
    """The (height, width) of the first readable picture; UserError if there is none."""
    for _, (width, height) in _sizes(source):
        return height, width
    raise UserError(f"{title}: none of its images can be read")


def _sizes(source: Source) -> Iterator[tuple[str, tuple[int, int]]]:
    for number, name in enumerate(source.listing.names):
        try:
            yield name, source.size(number)
        except Unreadable:
            continue  # named and counted when its turn to be decoded comes
