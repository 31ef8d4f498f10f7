"""Pictures into shards: normalised, shuffled, in parallel, and to the same bytes on any number of processes.

What is written depends on the source and the settings alone. Several processes, on any machines that see the
folder, may make it together; what one that was killed had in hand, another takes over.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.contracts import Field
from pipeline.data.preparing.beside import settled_fields
from pipeline.data.preparing.changed import refuse_changed_source
from pipeline.data.preparing.checking import checked, made_already, wanted_of
from pipeline.data.preparing.choosing import UNWANTED
from pipeline.data.preparing.duplicates import Fingerprinting, folder_for, twins
from pipeline.data.preparing.ending import About, recall, settle
from pipeline.data.preparing.faces import Faces, read_faces
from pipeline.data.preparing.left_out import write_near_duplicates
from pipeline.data.preparing.listing import opened
from pipeline.data.preparing.making import Making, Work
from pipeline.data.preparing.pyramid import build_pyramid, check_levels
from pipeline.data.preparing.records import HELD_OUT, NAME, Blocks
from pipeline.data.preparing.render import Recipe, Rendered
from pipeline.data.preparing.report import PrepareReport, narrow_range, nothing_found
from pipeline.data.preparing.settings import LOOKED_AT, Asked, common_size, say_shape
from pipeline.data.preparing.tally import Tally
from pipeline.data.shards.blocks import refuse_strangers
from pipeline.data.shards.index import INDEX_NAME, ShardIndex, read_unfinished
from pipeline.data.shards.sink import differences
from pipeline.data.sources.annotated import AnnotatedSource
from pipeline.data.sources.class_names import called
from pipeline.data.sources.classes import class_names, labelling
from pipeline.data.sources.digest import listing_digest
from pipeline.data.sources.opening import source_kind
from pipeline.data.sources.pairs import HALVES, INPUT, MAP, HalvedSource, PairedSource
from pipeline.data.sources.source import Source, Wanted
from pipeline.data.sources.tables import Labelling
from pipeline.errors import UserError
from pipeline.images.codec import FORMATS
from pipeline.images.normalised import PLAIN, Target, Unreadable
from pipeline.images.pixels import Reading
from pipeline.randomness import derive_seed, permutation
from pipeline.storage.lock import one_of_writers
from pipeline.words import printable

_USUAL, _NOTHING = Asked(), About()


def prepare(
    source: str | Path,
    out: str | Path,
    asked: Asked = _USUAL,
    *,
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], object] = lambda line: None,
    about: About = _NOTHING,
) -> PrepareReport:
    """Makes the data set `out` from `source`, which may be all that `sources.known` lists.

    workers: processes, None: one a core. say: is told what is worth knowing before the end. about: for the
    card that is published with the shards. Raises UserError for wrong settings, or if there is no readable
    picture.
    """
    began = time.monotonic()
    if (Path(source) / INDEX_NAME).is_file():
        return _add_pyramid(Path(source), Path(out), asked.pyramid, workers, progress, began)
    kind, size = checked(str(source), asked)
    wanted = wanted_of(asked, size and max(size))
    refuse_strangers(Path(out))
    with one_of_writers(Path(out)), opened(kind, str(source), wanted, Path(out), progress) as pictures:
        pictures = _in_pairs(pictures, asked, wanted)
        report = _make(pictures, str(source), Path(out), asked, size, workers, progress, say, about)
    if asked.pyramid:
        for root in (Path(out) / HELD_OUT, Path(out)) if report.held_out else (Path(out),):
            index = build_pyramid(root, workers=workers, progress=progress, wait_seconds=math.inf)
            report.levels = index.levels
    report.seconds = time.monotonic() - began
    return report


def _in_pairs(pictures: Source, asked: Asked, wanted: Wanted) -> Source:
    """The pictures with what they are to be made of beside them, if it was asked for."""
    if asked.pairs in HALVES:
        pictures = HalvedSource(pictures, asked.pairs)
    elif asked.pairs is not None:
        pictures = _paired(pictures, asked.pairs, INPUT, wanted)
    return pictures if asked.maps is None else _paired(pictures, asked.maps, MAP, wanted)


def _paired(pictures: Source, others: str, name: str, wanted: Wanted) -> Source:
    wanted = replace(wanted, label_column=None, caption_column=None)
    source = source_kind(others).open(others, wanted)
    return PairedSource(pictures, source, name, listing_digest(source.listing, None))


def _refuse_unused(asked: Asked, depends: Mapping[str, object], source: str) -> None:
    """UserError for an option that this kind of source makes no use of."""
    if asked.image_column is not None and "image_column" not in depends:
        raise UserError(f"--image-column {asked.image_column}: {source} is no table; leave the option out")
    if asked.every != Wanted.every and "every_seconds" not in depends:
        raise UserError(f"--every {asked.every:g}: {source} is no video; leave the option out")


def _make(
    pictures: Source,
    source: str,
    out: Path,
    asked: Asked,
    size: tuple[int, int] | None,
    workers: int | None,
    progress: bool,
    say: Callable[[str], object],
    about: About,
) -> PrepareReport:
    """Makes the data set `out` of the pictures of `source`, without lower resolutions."""
    listing, reading = pictures.listing, asked.reading
    if not listing.names:
        raise UserError(f"{source}: holds no images{nothing_found(listing.skipped, listing.others)}")
    _refuse_unused(asked, listing.depends, source)
    skipped = list(listing.skipped)
    report = PrepareReport(out, skipped, others=listing.others, reading=reading, source=source)
    labelled = labelling(
        listing, source, str(asked.labels), asked.label_column, asked.on_absent, asked.caption_column
    )
    for name in sorted({name for name, _ in listing.tables} - labelled.used):
        listing.others.add(name)
    if labelled.annotations:
        pictures = AnnotatedSource(pictures, labelled.annotations)
        listing = pictures.listing
    numbers = _numbers(_worth_having(labelled, report), report.classes)
    if asked.class_names is not None:
        report.classes = called(report.classes, Path(asked.class_names))
    target = asked.target(*(size or common_size(pictures, source)))
    faces = None if asked.align is None else read_faces(asked.align, listing.names)
    report.unaligned = 0 if faces is None else faces.absent
    if asked.pyramid:
        check_levels(target.height, target.width)
    order = permutation(len(listing.names), derive_seed(asked.seed, "prepare"))[: asked.count]
    origin = _origin(pictures, target, numbers, asked, faces)
    refuse_changed_source(out, origin, pictures, source)
    _say_range(pictures, order, reading, say)
    say_shape(pictures, order[:LOOKED_AT].tolist(), target, say)
    fields = report.fields = settled_fields(listing.fields, target, source)
    index = _index(out, target, report.classes, fields, {**origin, "shard_size": asked.shard_size})
    recipe = Recipe(target, fields, asked.choice, faces)
    workers = workers or len(os.sched_getaffinity(0))
    if asked.duplicates != "keep":
        order = _told_apart(pictures, recipe, order, asked, index, report, workers, progress)
    work = Work(pictures, recipe, order, numbers, asked.on_unreadable == "error", asked.sized)
    blocks = Blocks(index, asked.shard_size, len(order), asked.hold_out)
    report.resumed = blocks.samples
    if not blocks.complete:
        Making(work, blocks, say).run(workers, progress, lambda: settle(blocks, work, report, about))
    recall(report)
    if report.likenesses:
        write_near_duplicates(out, report.likenesses)
    return report


def _index(
    out: Path,
    target: Target,
    classes: Sequence[str],
    fields: Sequence[Field],
    origin: Mapping[str, object],
) -> ShardIndex:
    """The index of the data set as it is begun."""
    settled = json.loads(json.dumps({**origin, "shard_name": NAME}))  # tuples become lists, as when read
    return ShardIndex(
        out,
        (),
        target.height,
        target.width,
        target.channels,
        tuple(classes),
        settled,
        complete=False,
        fields=tuple(fields),
    )


def _told_apart(
    source: Source,
    recipe: Recipe,
    order: npt.NDArray[np.int64],
    asked: Asked,
    index: ShardIndex,
    report: PrepareReport,
    workers: int,
    progress: bool,
) -> npt.NDArray[np.int64]:
    """The order, without near-duplicates if they are to be dropped; the report names them."""
    if refuse_strangers(index.folder):
        there = read_unfinished(index.folder)
        if there.complete or differences(index, there):
            return order  # nothing is made, whatever the order
    drawn = np.sort(order)
    folder = folder_for(index.folder, drawn, index.origin)
    like = twins(Fingerprinting(source, recipe, drawn, folder).run(workers, progress), asked.duplicate_bits)
    names = source.listing.names
    rows = [(names[drawn[place]], names[drawn[other]]) for place, other in sorted(like.items())]
    if asked.duplicates == "report":
        report.likenesses = rows
        return order
    report.skipped += [
        (name, f"{UNWANTED}is like {printable(other)}; --duplicates drop") for name, other in rows
    ]
    return order[~np.isin(order, drawn[list(like)])]


def _numbers(names: Sequence[str] | None, classes: Sequence[str]) -> npt.NDArray[np.int32] | None:
    """The class number of each picture."""
    if names is None:
        return None
    places = {name: place for place, name in enumerate(classes)}
    return np.fromiter((places[name] for name in names), np.int32, len(names))


def _add_pyramid(
    source: Path, out: Path, pyramid: bool, workers: int | None, progress: bool, began: float
) -> PrepareReport:
    """Adds its levels to a data set where it lies; nothing else can be made of a data set."""
    if not pyramid or source.resolve() != out.resolve():
        raise made_already(str(source))
    index = build_pyramid(source, workers=workers, progress=progress)
    seconds = time.monotonic() - began
    return PrepareReport(
        source, count=index.count, classes=index.classes, levels=index.levels, seconds=seconds
    )


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


def _say_range(
    source: Source, order: npt.NDArray[np.int64], reading: Reading, say: Callable[[str], object]
) -> None:
    """Warns, before many pictures are made, if the first ones use little of the range of their values."""
    if len(order) <= LOOKED_AT:
        return  # the report comes as soon
    first = Tally()
    for number in order[:LOOKED_AT].tolist():
        with suppress(Unreadable):
            picture = source.picture(number)
            if picture.values is None:
                return
            first.take(Rendered(b"", values=picture.values), "", None)
    words = narrow_range(first.values, reading)
    if words:
        say(f"the first {first.deep} pictures have more than 8 bits: {words}")


def _origin(
    source: Source,
    target: Target,
    labels: npt.NDArray[np.int32] | None,
    asked: Asked,
    faces: Faces | None,
) -> dict[str, object]:
    """Everything that the bytes depend on; `listing` stands for the files and their classes."""
    listing = source.listing
    reading = asked.reading
    return {
        "made_by": "prepare",
        "source": source.title,
        "listing": listing_digest(listing, labels),
        "crop": "centre" if asked.fit == "crop" and faces is None else None,
        "filter": target.filter,
        "format": target.format,
        "quality": None if FORMATS[target.format].quality is None else target.quality,
        "seed": asked.seed,
        "count": asked.count,
        # Only what was asked for: data sets made before these settings are the same.
        **({} if not asked.hold_out else {"hold_out": asked.hold_out}),
        **({} if reading.range is None else {"range": list(reading.range)}),
        **listing.depends,
        **({} if reading.background == PLAIN.background else {"background": list(reading.background)}),
        **asked.origin(),
        **({} if faces is None else {"align": faces.file, "landmarks": faces.digest}),
    }
