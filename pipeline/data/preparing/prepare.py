"""Pictures into shards: normalised, shuffled, in parallel, and to the same bytes on any number of processes.

What is written depends on the source and the settings alone. A run that was killed goes on where its last
whole shard ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.data.preparing.beside import settled_fields
from pipeline.data.preparing.changed import refuse_changed_source
from pipeline.data.preparing.pyramid import build_pyramid, check_levels
from pipeline.data.preparing.render import Rendered, rendered
from pipeline.data.preparing.report import PrepareReport, first_reason, narrow_range, nothing_found
from pipeline.data.preparing.settings import Asked, common_size
from pipeline.data.shards.index import INDEX_NAME
from pipeline.data.shards.samples import keys
from pipeline.data.shards.sink import ShardSink
from pipeline.data.sources.annotated import AnnotatedSource
from pipeline.data.sources.class_names import called
from pipeline.data.sources.classes import MODES, class_names, labelling
from pipeline.data.sources.layouts import refuse_whole
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.source import Source, Wanted
from pipeline.data.sources.tables import Labelling
from pipeline.errors import UserError
from pipeline.images.codec import FORMATS
from pipeline.images.normalised import PLAIN, Target, Unreadable
from pipeline.images.pixels import Reading
from pipeline.randomness import derive_seed, permutation
from pipeline.words import printable

_USUAL = Asked()
_LOOKED_AT = 32  # pictures, for what should be known before all are made


def prepare(
    source: str | Path,
    out: str | Path,
    asked: Asked = _USUAL,
    *,
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> PrepareReport:
    """Makes the data set `out` from `source`, which may be all that `sources.known` lists.

    workers: processes, None: one a core. say: is told what is worth knowing before the end. Raises UserError
    for wrong settings, or if there is no readable picture.
    """
    began = time.monotonic()
    if (Path(source) / INDEX_NAME).is_file():
        return _add_pyramid(Path(source), Path(out), asked.pyramid, workers, progress, began)
    asked.check()
    reading = asked.reading
    kind = source_kind(str(source))
    if str(asked.labels) == "auto":
        refuse_whole(str(source))
    size = asked.size(kind.side)
    pictures = kind.open(str(source), _wanted(asked, size and max(size)))
    listing = pictures.listing
    if not listing.names:
        raise UserError(f"{source}: holds no images{nothing_found(listing.skipped, listing.others)}")
    report = PrepareReport(Path(out), list(listing.skipped), others=listing.others, reading=reading)
    labelled = labelling(
        listing,
        str(source),
        str(asked.labels),
        asked.label_column,
        asked.on_absent,
        asked.caption_column,
    )
    for name in {name for name, _ in listing.tables} - labelled.used:
        listing.others.add(name)
    if labelled.annotations:
        pictures = AnnotatedSource(pictures, labelled.annotations)
        listing = pictures.listing
    numbers = _numbers(_worth_having(labelled, report), report.classes)
    if asked.class_names is not None:
        report.classes = called(report.classes, Path(asked.class_names))
    height, width = size or common_size(pictures, str(source))
    target = Target(height, width, asked.channels, asked.filter, asked.format, asked.quality)
    if asked.pyramid:
        check_levels(target.height, target.width)
    order = permutation(len(listing.names), derive_seed(asked.seed, "prepare")).tolist()[: asked.count]
    origin = _origin(pictures, target, numbers, asked)
    refuse_changed_source(Path(out), origin, pictures, str(source))
    _say_range(pictures, order, reading, say)
    sink = ShardSink(
        out,
        name="data",
        height=target.height,
        width=target.width,
        channels=target.channels,
        classes=report.classes,
        fields=settled_fields(listing.fields, target, str(source)),
        origin=origin,
        shard_size=asked.shard_size,
    )
    with sink:
        _Run(pictures, target, order, numbers, sink, report).go(
            workers or len(os.sched_getaffinity(0)), progress, asked.on_unreadable
        )
        if not sink.finished and not report.count:
            raise UserError(f"{source}: none of its images can be read{first_reason(report.skipped)}")
    report.count = sink.index.count
    report.fields = sink.index.fields
    if not asked.sized:
        report.enlarged = 0  # nothing was asked: it is a demo's own size
    if asked.pyramid:
        report.levels = build_pyramid(out, workers=workers, progress=progress).levels
    report.seconds = time.monotonic() - began
    return report


def _wanted(asked: Asked, side: int | None) -> Wanted:
    return Wanted(
        asked.count,
        asked.seed,
        side,
        asked.reading,
        asked.follow_links,
        label_column=asked.label_column if str(asked.labels) == "auto" else None,
        caption_column=asked.caption_column if str(asked.labels) in MODES else None,
    )


def _numbers(names: Sequence[str] | None, classes: Sequence[str]) -> list[int] | None:
    """The class number of each picture."""
    places = {name: place for place, name in enumerate(classes)}
    return None if names is None else [places[name] for name in names]


def _add_pyramid(
    source: Path, out: Path, pyramid: bool, workers: int | None, progress: bool, began: float
) -> PrepareReport:
    """Adds its levels to a data set where it lies; nothing else can be made of a data set."""
    if not pyramid or source.resolve() != out.resolve():
        raise UserError(
            f"{source}: is a data set of shards already; to add lower resolutions to it, give it twice: "
            f"hrgan prepare {source} {source} --pyramid"
        )
    index = build_pyramid(source, workers=workers, progress=progress)
    seconds = time.monotonic() - began
    return PrepareReport(
        source, count=index.count, classes=index.classes, levels=index.levels, seconds=seconds
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
        if not self.sink.complete:
            self._make(begin, workers, progress, on_unreadable)
        self._count_classes()

    def _make(self, begin: int, workers: int, progress: bool, on_unreadable: str) -> None:
        todo = self.order[begin:]
        results = rendered(self.source, self.target, self.sink.index.fields, todo, workers)
        bar = tqdm(
            results, total=len(self.order), initial=begin, unit="image", disable=not progress, smoothing=0.05
        )
        for position, result in enumerate(bar, begin):
            if result.data is None and on_unreadable == "error":
                name = self.source.listing.names[self.order[position]]
                raise UserError(f"{printable(name)}: {result.reason}; mend or remove it, or skip unreadable")
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
            result.extra,
        )
        self.report.take(result)

    def _count_classes(self) -> None:
        if self.labels is not None:
            listed, left_out = self.source.listing.names, {name for name, _ in self.report.skipped}
            kept = Counter(self.labels[number] for number in self.order if listed[number] not in left_out)
            self.report.class_counts = {name: kept[n] for n, name in enumerate(self.report.classes)}

    def _recall(self) -> int:
        """Where an interrupted call stopped; what it skipped goes into the report again."""
        self.report.resumed = self.sink.finished
        index = self.sink.index
        done = {int(key) for shard in index.shards for key in keys(index.root / shard.name, index.fields)}
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


def _worth_having(labelled: Labelling, report: PrepareReport) -> Sequence[str] | None:
    """The class of each picture; None if all have the same, since what all images share tells a network
    nothing."""
    report.labels_from, report.absent = labelled.where, labelled.absent
    classes = class_names(labelled.classes or ())
    if len(classes) == 1:
        report.one_class = classes[0]
        return None
    report.classes = classes
    return labelled.classes


def _say_range(source: Source, order: Sequence[int], reading: Reading, say: Callable[[str], object]) -> None:
    """Warns, before many pictures are made, if the first ones use little of the range of their values."""
    if len(order) <= _LOOKED_AT:
        return  # the report comes as soon
    first = PrepareReport(Path(), reading=reading)
    for number in order[:_LOOKED_AT]:
        with suppress(Unreadable):
            picture = source.picture(number)
            if picture.values is None:
                return
            first.take(Rendered(b"", values=picture.values))
    words = narrow_range(first.values, reading)
    if words:
        say(f"the first {first.deep} pictures have more than 8 bits: {words}")


def _origin(source: Source, target: Target, labels: Sequence[int] | None, asked: Asked) -> dict[str, object]:
    """Everything that the bytes depend on; `listing` stands for the files and their classes."""
    listing = source.listing
    reading = asked.reading
    text = json.dumps([list(listing.names), list(listing.sizes), labels])
    return {
        "made_by": "prepare",
        "source": source.title,
        "listing": hashlib.sha256(text.encode()).hexdigest()[:16],
        "crop": "centre",
        "filter": target.filter,
        "format": target.format,
        "quality": None if FORMATS[target.format].quality is None else target.quality,
        "seed": asked.seed,
        "count": asked.count,
        # Only what was asked for: data sets made before these settings are the same.
        **({} if reading.range is None else {"range": list(reading.range)}),
        **listing.depends,
        **({} if reading.background == PLAIN.background else {"background": list(reading.background)}),
    }
