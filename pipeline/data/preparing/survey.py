"""What one of others' shards holds: which of its images can be used where they lie, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipeline.data.shards.places import Place, Table, checksum, place_in
from pipeline.data.sources.foreign_shards import ForeignSample, list_shard
from pipeline.data.sources.source import MOST_FILE_BYTES, reading_picture, reading_source, within_limit
from pipeline.images import codec
from pipeline.images.kinds import Kind, kind_of
from pipeline.images.normalised import Unreadable, read_picture, size_of
from pipeline.images.pixels import Remark

_FORMATS: Mapping[Kind, str] = {format.kind: name for name, format in codec.FORMATS.items()}
_CHANGED: dict[Remark, str] = {
    "frames": "with several frames",
    "transparent": "with transparent parts",
    "converted": "with a colour profile that changes their colours",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What images must be to be used where they lie, and which key of each .json is their class (None: their
    .cls)."""

    height: int
    width: int
    channels: int
    label_key: str | None = None


@dataclass(frozen=True, slots=True)
class Misfits:
    """Images that can be used as copies only, all for one reason. first: the name of one, and what it is."""

    count: int
    first: str


@dataclass
class Survey:
    """What a shard holds. places: of its usable images. skipped: (name, reason) of what cannot be read.
    misfits: by the reason."""

    places: list[Place] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    misfits: dict[str, Misfits] = field(default_factory=dict)


class _Misfit(Exception):
    def __init__(self, reason: str, what: str = "") -> None:
        self.reason, self.what = reason, what


def survey(path: Path, terms: Terms, known: Table | None = None) -> Survey:
    """Reads every image of a shard, and decodes those that are not among the places known from an earlier
    call."""
    listed = list_shard(path, terms.label_key)
    found = Survey(skipped=[(f"{path.name}/{name}", reason) for name, reason in listed.skipped])
    sums = _sums(known)
    with reading_source(path), path.open("rb") as file:
        for sample in listed.samples:
            name = f"{path.name}/{sample.name}"
            try:
                found.places.append(_place(path, file, sample, terms, sums))
            except Unreadable as reason:
                found.skipped.append((name, str(reason)))
            except _Misfit as misfit:
                first = Misfits(0, f"{name}{misfit.what}")
                before = found.misfits.get(misfit.reason, first)
                found.misfits[misfit.reason] = Misfits(before.count + 1, before.first)
    return found


def first_size(paths: Iterable[Path]) -> tuple[int, int] | None:
    """The (height, width) of the first image in these shards that can be read; None if there is none."""
    for path in paths:
        for sample in list_shard(path, None).samples:
            try:
                with path.open("rb") as file:
                    width, height = size_of(_read(path, file, sample))
            except Unreadable:
                continue  # named when its turn to be decoded comes
            return height, width
    return None


def _sums(known: Table | None) -> set[tuple[str, int]]:
    if known is None:
        return set()
    return {(place.name, place.crc32) for place in (place_in(known, n) for n in range(len(known)))}


def _place(
    path: Path, file: BinaryIO, sample: ForeignSample, terms: Terms, known: set[tuple[str, int]]
) -> Place:
    image = _read(path, file, sample)
    format = _stored_format(image, terms)
    crc32 = checksum(sample.name, image, sample.label)
    if (sample.name, crc32) not in known:
        _refuse_changes(image, terms)
    return Place(sample.offset, sample.size, crc32, format, sample.name, sample.label)


def _read(path: Path, file: BinaryIO, sample: ForeignSample) -> bytes:
    if sample.size > MOST_FILE_BYTES:
        raise Unreadable(f"larger than {MOST_FILE_BYTES} bytes")
    with reading_picture(path):
        file.seek(sample.offset)
        data = file.read(sample.size)
    if len(data) != sample.size:
        raise Unreadable("the archive ends inside it")
    return within_limit(data)


def _stored_format(image: bytes, terms: Terms) -> str:
    """The format of an image whose header fits the terms; otherwise _Misfit."""
    kind = kind_of(image)
    if kind is None:
        raise Unreadable("not an image of a known kind")
    format = _FORMATS.get(kind)
    if format is None:
        raise _Misfit("neither PNG, JPEG nor WebP", f" is {kind.name}")
    size = codec.header_size(image, format)
    if not size.plain or size.alpha:
        raise _Misfit("not 8-bit grey or RGB")
    if (size.height, size.width) != (terms.height, terms.width):
        raise _Misfit(f"of another size than {terms.width}x{terms.height}", f" is {size.width}x{size.height}")
    return format


def _refuse_changes(image: bytes, terms: Terms) -> None:
    """Decodes an image; _Misfit if a copy of it would be made otherwise than by storing its pixels."""
    picture = read_picture(image)
    if picture.turned:
        raise _Misfit("stored turned or mirrored, with an EXIF orientation")
    if terms.channels == 1 and picture.image.mode != "L":
        raise _Misfit("in colour, not grey")
    for remark, reason in _CHANGED.items():
        if remark in picture.remarks:
            raise _Misfit(reason)
