"""Pictures -> shards: normalised, shuffled, in parallel; the same bytes on any number of processes.

What is written depends on the source and the settings alone. A run that was killed goes on where its
last whole shard ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from pipeline.data.images import FILTERS, FORMATS, MOST_SIDE, Filter, Format, Target, Unreadable
from pipeline.data.index import Level
from pipeline.data.labels import MODES, apply_labels, class_names, from_folders, read_labels
from pipeline.data.lanes import permutation
from pipeline.data.pyramid import build_pyramid, check_levels, is_data_set
from pipeline.data.render import Rendered, rendered
from pipeline.data.samples import keys
from pipeline.data.sink import ShardSink
from pipeline.data.sources import Source, open_source
from pipeline.errors import UserError
from pipeline.randomness import derive_seed

_DEMO_SIDE = {"demo:digits": 32, "demo:faces": 256}
_REASONS_SHOWN = 20


@dataclass
class PrepareReport:
    """What became of a source. skipped: (name, reason) of each file that is not in the data set.

    enlarged: pictures written by this call that were smaller than asked. ignored: files of other kinds.
    resumed: samples that an interrupted call had finished. seconds: this call's. levels: of its pyramid.
    """

    out: Path
    count: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    seconds: float = 0.0
    enlarged: int = 0
    ignored: int = 0
    resumed: int = 0
    levels: tuple[Level, ...] = ()

    def lines(self) -> list[str]:
        """The report for a person."""
        labelled = f", {len(self.classes)} classes" if self.classes else ""
        lines = [f"{self.out}: {self.count} images{labelled}, {self.seconds:.1f} s"]
        if self.resumed:
            lines.append(f"{self.resumed} of them were finished by an earlier, interrupted call")
        if self.levels:
            sizes = ", ".join(f"{level.width}x{level.height}" for level in self.levels)
            lines.append(f"pyramid: {sizes}")
        if self.enlarged:
            lines.append(f"{self.enlarged} were smaller than asked and were enlarged")
        if self.ignored:
            lines.append(f"{self.ignored} files of other kinds were left alone")
        if self.skipped:
            lines.append(f"{len(self.skipped)} could not be used:")
            lines += [f"  {_printable(name)}: {reason}" for name, reason in self.skipped[:_REASONS_SHOWN]]
            if len(self.skipped) > _REASONS_SHOWN:
                lines.append(f"  and {len(self.skipped) - _REASONS_SHOWN} more")
        return lines


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    resolution: int | None = None,
    height: int | None = None,
    width: int | None = None,
    channels: int = 3,
    filter: Filter = "lanczos",
    labels: str | Path = "folders",
    format: Format = "png",
    quality: int = 95,
    shard_size: int = 1000,
    seed: int = 0,
    count: int | None = None,
    workers: int | None = None,
    progress: bool = False,
    on_unreadable: Literal["skip", "error"] = "skip",
    pyramid: bool = False,
) -> PrepareReport:
    """Makes the data set `out` from `source`: a folder, .zip, .tar, demo:digits or demo:faces.

    resolution: pixels a side; or height and width; without either, the size that all pictures share
    (32 and 256 for the demos). labels: "folders" (or a tar's .cls), "none", or a JSON or CSV file.
    count: at most this many pictures, drawn by `seed`. workers: processes, None: one a core.
    pyramid: every lower resolution too (`pipeline.data.pyramid`).
    Raises UserError for wrong settings, or if there is no readable picture.
    """
    began = time.monotonic()
    if is_data_set(str(source)):
        return _add_pyramid(Path(source), Path(out), pyramid, workers, progress, began)
    size = _asked_size(str(source), resolution, height, width)
    _check_settings(channels, filter, format, quality, count)
    pictures = open_source(str(source), count, seed, None if size is None else max(size))
    if not pictures.listing.names:
        raise UserError(f"{source}: holds no images{_first_reason(pictures.listing.skipped)}")
    names = _class_of_each(pictures, labels)
    classes = () if names is None else class_names(names)
    numbers = None if names is None else [classes.index(name) for name in names]
    tall, wide = size or _common_size(pictures, str(source))
    if pyramid:
        check_levels(tall, wide)
    target = Target(tall, wide, channels, filter, format, quality)
    order = permutation(len(pictures.listing.names), derive_seed(seed, "prepare")).tolist()[:count]
    sink = ShardSink(
        out,
        name="data",
        height=tall,
        width=wide,
        channels=channels,
        classes=classes,
        origin=_origin(pictures, target, numbers, seed, count),
        shard_size=shard_size,
    )
    report = PrepareReport(Path(out), classes=classes, ignored=pictures.listing.ignored)
    report.skipped += pictures.listing.skipped
    with sink:
        _Run(pictures, target, order, numbers, sink, report).go(
            workers or len(os.sched_getaffinity(0)), progress, on_unreadable
        )
        if not sink.finished and not report.count:
            raise UserError(f"{source}: none of its images can be read{_first_reason(report.skipped)}")
    report.count = sink.index.count
    if pyramid:
        report.levels = build_pyramid(out, workers=workers, progress=progress).levels
    report.seconds = time.monotonic() - began
    return report


def _add_pyramid(
    source: Path, out: Path, pyramid: bool, workers: int | None, progress: bool, began: float
) -> PrepareReport:
    """A data set gets its levels where it is; nothing else can be made of it."""
    if not pyramid or source.resolve() != out.resolve():
        raise UserError(
            f"{source}: is a data set of shards already; to add lower resolutions to it, give it twice: "
            f"hrgan prepare {source} {source} --pyramid"
        )
    index = build_pyramid(source, workers=workers, progress=progress)
    return PrepareReport(
        source, index.count, classes=index.classes, levels=index.levels, seconds=time.monotonic() - began
    )


@dataclass
class _Run:
    source: Source
    target: Target
    order: Sequence[int]
    labels: Sequence[int] | None
    sink: ShardSink
    report: PrepareReport

    def go(self, workers: int, progress: bool, on_unreadable: str) -> None:
        begin = self._recall()
        if self.sink.complete:
            return
        todo = self.order[begin:]
        results = rendered(self.source, self.target, todo, workers)
        bar = tqdm(
            results, total=len(self.order), initial=begin, unit="image", disable=not progress, smoothing=0.05
        )
        for position, result in enumerate(bar, begin):
            if result.data is None and on_unreadable == "error":
                name = self.source.listing.names[self.order[position]]
                raise UserError(f"{_printable(name)}: {result.reason}; mend or remove it, or skip unreadable")
            self._take(position, result)

    def _take(self, position: int, result: Rendered) -> None:
        number = self.order[position]
        name = self.source.listing.names[number]
        if result.data is None:
            self.report.skipped.append((name, result.reason))
            return
        # The key is the place in the shuffled order, so that a restart knows where it is.
        self.sink.write(
            f"{position:08d}",
            result.data,
            self.target.format,
            None if self.labels is None else self.labels[number],
            {**result.meta, "source": name},
        )
        self.report.count += 1
        self.report.enlarged += result.enlarged

    def _recall(self) -> int:
        """Where an interrupted call stopped; what it skipped goes into the report again."""
        self.report.resumed = self.sink.finished
        index = self.sink.index
        done = {int(key) for shard in index.shards for key in keys(index.root / shard.name)}
        begin = len(self.order) if self.sink.complete else max(done, default=-1) + 1
        for position in sorted(set(range(begin)) - done):
            number = self.order[position]
            self.report.skipped.append((self.source.listing.names[number], self._reason(number)))
        return begin

    def _reason(self, number: int) -> str:
        try:
            self.source.picture(number)
        except Unreadable as reason:
            return str(reason)
        return "could not be read when the data set was begun"


def _asked_size(
    source: str, resolution: int | None, height: int | None, width: int | None
) -> tuple[int, int] | None:
    if (height is None) != (width is None):
        raise UserError("height, width: give both, or resolution for square images")
    if resolution is not None and height is not None:
        raise UserError("resolution: give it, or height and width, not both")
    if height is not None and width is not None:
        size = (height, width)
    else:
        side = resolution if resolution is not None else _DEMO_SIDE.get(source)
        if side is None:
            return None
        size = (side, side)
    if not 4 <= min(size) <= max(size) <= MOST_SIDE:
        raise UserError(f"resolution: {size[1]}x{size[0]}; 4 to {MOST_SIDE} pixels a side are allowed")
    return size


def _check_settings(channels: int, filter: str, format: str, quality: int, count: int | None) -> None:
    if channels not in (1, 3):
        raise UserError(f"channels: {channels}; allowed: 1 (grey), 3 (RGB)")
    if filter not in FILTERS:
        raise UserError(f"filter: {filter}; allowed: {', '.join(FILTERS)}")
    if format not in FORMATS:
        raise UserError(f"format: {format}; allowed: {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise UserError(f"quality: {quality}; 1 to 100 is allowed")
    if format == "webp" and channels == 1:
        raise UserError("format: webp has no grey; allowed for grey images: png, jpg")
    if count is not None and count < 1:
        raise UserError(f"count: {count}; must be at least 1")


def _class_of_each(source: Source, labels: str | Path) -> Sequence[str] | None:
    names = source.listing.names
    if str(labels) == "none":
        return None
    if str(labels) == "folders":
        if source.listing.labels_fault is not None:
            raise UserError(f"{source.listing.labels_fault}; or allowed: --labels none")
        return source.listing.labels if source.listing.labels is not None else from_folders(names)
    path = Path(labels)
    if not path.is_file():
        raise UserError(f"{labels}: no such labels; allowed: {', '.join(MODES)}, a .json or .csv file")
    return apply_labels(read_labels(path), names, path)


def _common_size(source: Source, title: str) -> tuple[int, int]:
    """(height, width) if all readable pictures have one size; else UserError asks for a resolution."""
    first: tuple[str, tuple[int, int]] | None = None
    for name, size in _sizes(source):
        if first is None:
            first = (name, size)
        if size != first[1]:
            raise UserError(
                f"{title}: resolution: must be given, images differ in size ({_printable(first[0])} is "
                f"{first[1][0]}x{first[1][1]}, {_printable(name)} is {size[0]}x{size[1]})"
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


def _origin(
    source: Source, target: Target, labels: Sequence[int] | None, seed: int, count: int | None
) -> dict[str, object]:
    """What the bytes depend on; `listing` stands for the files and their classes."""
    listing = source.listing
    text = json.dumps([list(listing.names), list(listing.sizes), labels])
    return {
        "made_by": "prepare",
        "source": source.title,
        "listing": hashlib.sha256(text.encode()).hexdigest()[:16],
        "crop": "centre",
        "filter": target.filter,
        "format": target.format,
        "quality": None if target.format == "png" else target.quality,
        "seed": seed,
        "count": count,
    }


def _first_reason(skipped: Sequence[tuple[str, str]]) -> str:
    return f" (the first: {_printable(skipped[0][0])}: {skipped[0][1]})" if skipped else ""


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
