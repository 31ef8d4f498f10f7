"""What there is to train on: a look at a source of pictures before anything is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from pipeline.data.sources.classes import class_names, labelling
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import Source, Wanted
from pipeline.errors import UserError
from pipeline.images.kinds import suffix_of
from pipeline.images.normalised import Unreadable

_MEASURED, _DECODED = 2000, 24  # pictures whose size, and whose colours, are looked at
_ENOUGH = 0.8  # of the pictures must be as large as the resolution
_LEVELS = tuple(1 << level for level in range(4, 11))


@dataclass(frozen=True)
class Photographs:
    """What a source holds.

    count: pictures. sides: the shorter side in pixels of those that were measured. grey: whether all that
    were decoded are. unreadable: how many of those looked at could not be read. classes: pictures by class
    name; empty if there are none. hindrance: why the folders were not taken for classes. skipped: files that
    cannot be pictures. kinds: how many names end in what.
    """

    source: str
    count: int
    sides: Sequence[int]
    grey: bool
    unreadable: int
    classes: Mapping[str, int]
    hindrance: str | None
    skipped: int
    kinds: Mapping[str, int]

    def smaller_than(self, side: int) -> float:
        """The share of pictures that would be enlarged."""
        return sum(one < side for one in self.sides) / max(len(self.sides), 1)

    @property
    def largest(self) -> int:
        """The largest resolution from 16 to 1024 that most pictures have; 16 if they are smaller still."""
        return max((side for side in _LEVELS if self.smaller_than(side) <= 1 - _ENOUGH), default=_LEVELS[0])

    def lines(self) -> Iterator[str]:
        """For people."""
        kinds = ", ".join(f"{count:,} {name.lstrip('.')}" for name, count in self.kinds.items() if name)
        none = f"; {self.skipped} files that look like pictures are none" if self.skipped else ""
        colour = "grey" if self.grey else "in colour"
        yield f"{self.count:,} pictures{f' ({kinds})' if kinds else ''}, {colour}{none}"
        sides = sorted(self.sides)
        smaller = ", ".join(f"{side}: {self.smaller_than(side):.0%}" for side in _LEVELS[2:])
        middle = f"{median(sides):.0f} in the middle"
        yield f"shorter side {sides[0]} to {sides[-1]} pixels, {middle}; smaller than {smaller}"
        if self.classes:
            least = min(self.classes, key=lambda name: self.classes[name])
            yield f"{len(self.classes)} classes; the smallest, {least}, has {self.classes[least]:,} pictures"
        if self.unreadable:
            yield f"{self.unreadable} of those looked at cannot be read; hrgan prepare names and skips them"


def look_at(source: str, labels: str, follow_links: bool) -> Photographs:
    """Looks at the pictures of `source`. labels: as in `hrgan prepare`; with "auto", folders that are hardly
    classes count as none. Raises UserError if there is no picture."""
    pictures = source_kind(source).open(source, Wanted(follow_links=follow_links))
    listing = pictures.listing
    if not listing.names:
        raise UserError(f"{source}: holds no images")
    order = np.random.default_rng(0).permutation(len(listing.names)).tolist()
    sides, unreadable = _sides(pictures, order[:_MEASURED])
    if not sides:
        raise UserError(f"{source}: none of the pictures that were looked at can be read")
    classes, hindrance = _classes(pictures, source, labels)
    endings = Counter(suffix_of(Path(name).name) for name in listing.names)
    return Photographs(
        source,
        len(listing.names),
        sides,
        _grey(pictures, order[:_DECODED]),
        unreadable,
        classes,
        hindrance,
        len(listing.skipped),
        dict(endings.most_common(4)),
    )


def _sides(pictures: Source, numbers: Sequence[int]) -> tuple[list[int], int]:
    sides = []
    for number in numbers:
        with suppress(Unreadable):
            sides.append(min(pictures.size(number)))
    return sides, len(numbers) - len(sides)


def _grey(pictures: Source, numbers: Sequence[int]) -> bool:
    for number in numbers:
        with suppress(Unreadable):
            image = pictures.picture(number).image
            if image.mode != "L":
                pixels = np.asarray(image.convert("RGB"))
                if not (pixels == pixels[..., :1]).all():
                    return False
    return True


def _classes(pictures: Source, source: str, labels: str) -> tuple[dict[str, int], str | None]:
    try:
        classes = labelling(pictures.listing, source, labels).classes
    except UserError as error:
        if labels != "auto":
            raise
        return {}, str(error)
    counts = Counter(classes or ())
    return {name: counts[name] for name in class_names(counts)} if len(counts) > 1 else {}, None
