"""What is known of sources before a picture of them is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.data.preparing.pyramid import check_levels
from pipeline.data.preparing.report import nothing_found
from pipeline.data.preparing.settings import Asked, first_of
from pipeline.data.preparing.survey import first_size
from pipeline.data.shards.index import INDEX_NAME
from pipeline.data.sources.classes import MODES
from pipeline.data.sources.foreign_shards import find_shards
from pipeline.data.sources.layouts import refuse_whole
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import SourceKind, Wanted
from pipeline.errors import UserError
from pipeline.words import printable


def made_already(source: str) -> UserError:
    """Returns what is said of a source that is a data set, of which no other is made."""
    return UserError(
        f"{source}: is a data set of shards already; to add lower resolutions to it, give it twice: "
        f"hrgan prepare {source} {source} --pyramid"
    )


def checked(source: str, asked: Asked) -> tuple[SourceKind, tuple[int, int] | None]:
    """Returns the kind of a source and the (height, width) to make of it; None: that of its pictures. The
    source is not listed. UserError for settings that are not allowed, or mean nothing to this kind."""
    if (Path(source) / INDEX_NAME).is_file():
        raise made_already(source)
    asked.check()
    kind = source_kind(source)
    kind.check_fields(source, asked.fields)
    if str(asked.labels) == "auto":
        refuse_whole(source)
    size = asked.size(kind.side)
    if asked.pyramid and size:
        check_levels(*size)
    return kind, size


def wanted_of(asked: Asked, side: int | None) -> Wanted:
    """Returns what a source is opened with. side: pixels of the longer side to make, if one was asked for."""
    return Wanted(
        asked.count,
        asked.seed,
        side,
        asked.reading,
        asked.follow_links,
        label_column=asked.label_column if str(asked.labels) == "auto" else None,
        caption_column=asked.caption_column if str(asked.labels) in MODES else None,
        image_column=asked.image_column,
        every=asked.every,
        fields=asked.fields,
    )


def check_unpaired(sources: Sequence[str], asked: Asked, *, in_place: bool) -> None:
    """Raises UserError unless each of two sources can be prepared as asked and their images have one size:
    without one that is asked for, that of their first pictures, since all of a source must have the same."""
    size_of = _size_in_place if in_place else _size
    first, second = (size_of(source, asked) for source in sources)
    if first != second:
        ours, theirs = (f"{height}x{width}" for height, width in (second, first))
        raise UserError(
            f"--unpaired {printable(sources[1])}: its images are {ours} (height x width), those of "
            f"{printable(sources[0])} {theirs}; give --resolution or --size, which both get"
        )


def _size(source: str, asked: Asked) -> tuple[int, int]:
    kind, size = checked(source, asked)
    if size is not None:
        return size
    pictures = kind.open(source, wanted_of(asked, None))
    listing = pictures.listing
    if not listing.names:
        raise UserError(f"{source}: holds no images{nothing_found(listing.skipped, listing.others)}")
    return first_of(pictures, source)


def _size_in_place(source: str, asked: Asked) -> tuple[int, int]:
    asked.check()
    paths = find_shards(source)
    size = asked.size() or first_size(paths)
    if size is None:
        raise UserError(f"{source}: holds no image that can be read")
    return size
