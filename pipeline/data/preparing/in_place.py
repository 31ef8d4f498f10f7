"""Others' WebDataset shards as a data set, without a copy: an index, and places of their images beside it.

Processes survey a shard each. What is found of a shard is published at once, so that a call which was killed
decodes no image again that is known to be good.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from pipeline.data.preparing.mixing import Mixing
from pipeline.data.preparing.processes import in_order
from pipeline.data.preparing.pyramid import build_pyramid, check_levels
from pipeline.data.preparing.report import PrepareReport, first_reason
from pipeline.data.preparing.settings import Asked
from pipeline.data.preparing.survey import Misfits, Survey, Terms, first_size, survey
from pipeline.data.shards.index import INDEX_NAME, ShardIndex, places_path, read_unfinished
from pipeline.data.shards.places import Table, pack_places, parse_places, place_in, read_places
from pipeline.data.shards.rows import SHARD_NAME, Shard
from pipeline.data.shards.samples import no_damage
from pipeline.data.shards.sink import differences
from pipeline.data.sources.classes import class_names
from pipeline.data.sources.foreign_shards import find_shards, says
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_bytes
from pipeline.storage.atomic import is_aside, publish_bytes
from pipeline.storage.lock import only_writer
from pipeline.storage.manifest import digest_file
from pipeline.words import counted, printable

_MOST_PLACES = 1 << 30  # bytes
_EIGHTH = 8  # of the shards: from there on a set that is sorted is refused before all are surveyed


def prepare_in_place(
    source: str | Path,
    out: str | Path,
    asked: Asked,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> PrepareReport:
    """Makes the data set `out` of shards by others, which stay where they are: a folder, which may be `out`
    itself, a tar, or a pattern such as a/{000..127}.tar.

    asked: its size, or without one that of the first image, its channels, and whether a pyramid is made too.
    labels: "auto" (.cls, or the key `label_column` of .json) or "none". workers, progress: as `prepare` has
    them. Raises UserError unless all readable images are plain PNG, JPEG or WebP of that size, and mixed by
    class.
    """
    began = time.monotonic()
    asked.check()
    _check_labels(str(asked.labels), asked.label_column)
    paths = _checked(find_shards(str(source)), str(source))
    size = asked.size() or first_size(paths)
    if size is None:
        raise UserError(f"{source}: holds no image that can be read")
    if asked.pyramid:
        check_levels(*size)
    report = PrepareReport(Path(out), stays_in=paths[0].parent)
    terms = Terms(*size, asked.channels, asked.label_column)
    workers = workers or len(os.sched_getaffinity(0))
    with only_writer(Path(out)):
        index = _begin(Path(out), paths, terms, str(asked.labels))
        _Run(str(source), paths, terms, index, report).go(workers, progress, asked.on_unreadable)
    if asked.pyramid:
        report.levels = build_pyramid(out, workers=workers, progress=progress).levels
    report.seconds = time.monotonic() - began
    return report


def _check_labels(labels: str, label_column: str | None) -> None:
    if labels not in ("auto", "none"):
        raise UserError(
            f"--labels {labels}: not with --in-place; allowed: auto (.cls, or --label-column), none"
        )
    if labels == "none" and label_column is not None:
        raise UserError(f"--label-column {label_column}: chooses classes; not with --labels none")


def _checked(paths: list[Path], source: str) -> list[Path]:
    for path in paths:
        if not SHARD_NAME.match(path.name):
            raise UserError(
                f"{printable(str(path))}: a shard's name may have letters, digits, _, - and . only, and ends "
                "in .tar; rename it"
            )
    if _is_own(paths[0].parent):
        raise UserError(
            f"{source}: is a data set of shards already, as hrgan prepare makes them; use it as it is"
        )
    return paths


def _is_own(folder: Path) -> bool:
    try:
        return not read_unfinished(folder).data_root
    except UserError:  # others may call a file index.json, too
        return False


def _begin(out: Path, paths: Sequence[Path], terms: Terms, labels: str) -> ShardIndex:
    """The index of what an earlier call has finished, or a new one without shards."""
    origin = {"made_by": "prepare", "in_place": True, "labels": labels}
    if terms.label_key is not None:
        origin["label_column"] = terms.label_key
    folder = os.path.relpath(paths[0].parent.resolve(), out.resolve())
    index = ShardIndex(
        out,
        (),
        terms.height,
        terms.width,
        terms.channels,
        origin=origin,
        complete=False,
        data_root=Path(folder).as_posix(),
    )
    if not (out / INDEX_NAME).exists():
        _refuse_strangers(out, paths)
        index.write()
        return index
    there = read_unfinished(out)
    if not there.data_root:
        raise UserError(f"{out}: holds a data set with shards of its own; give another folder")
    different = differences(replace(index, classes=there.classes), there)
    if different:
        raise UserError(f"{out}: holds another data set ({'; '.join(different)}); give another folder")
    _refuse_changed(there, paths)
    return replace(there, data_root=index.data_root)


def _refuse_strangers(out: Path, paths: Sequence[Path]) -> None:
    if out.resolve() == paths[0].parent.resolve():
        return
    ours = {".lock", *(places_path(out, path.name).name for path in paths)}
    for path in sorted(out.iterdir()):
        if path.name not in ours and not any(is_aside(path.name, name) for name in (INDEX_NAME, *ours)):
            raise UserError(
                f"{out}: not empty (holds {path.name}); give a new or empty folder, or SHARDS itself"
            )


def _refuse_changed(there: ShardIndex, paths: Sequence[Path]) -> None:
    sizes = {path.name: path.stat().st_size for path in paths}
    for shard in there.shards:
        size = sizes.get(shard.name)
        if size != shard.bytes:
            how = "is gone" if size is None else f"had {shard.bytes} bytes and has {size}"
            raise UserError(
                f"{there.root}: holds a data set of these shards as they were before ({shard.name} {how}); "
                "give a new folder to index what is there now, or put the shards back"
            )


@dataclass
class _Run:
    source: str
    paths: Sequence[Path]
    terms: Terms
    index: ShardIndex
    report: PrepareReport

    def go(self, workers: int, progress: bool, on_unreadable: str) -> None:
        self.report.resumed = self.index.count
        self.mixing, self.misfits = Mixing(), dict[str, Misfits]()
        self._recall(workers)
        done = {shard.name for shard in self.index.shards}
        todo = [n for n, path in enumerate(self.paths) if path.name not in done]
        bar = tqdm(
            in_order(self._indexed, todo, workers, task=1),
            total=len(self.paths),
            initial=len(done),
            unit="shard",
            disable=not progress,
        )
        for found, shard in bar:
            self._note(found, on_unreadable)
            if shard is not None:
                self._take(shard)
        self._finish()

    def _indexed(self, number: int) -> tuple[Survey, Shard | None]:
        """Surveys a shard and publishes its places. The survey comes back without them."""
        path, places = self.paths[number], places_path(self.index.folder, self.paths[number].name)
        found = survey(path, self.terms, _known(places))
        shard = None
        if found.places and not found.misfits:
            data = pack_places(found.places)
            publish_bytes(places, data)
            own = hashlib.sha256(data).hexdigest()
            size, count = path.stat().st_size, len(found.places)
            shard = Shard(path.name, count, size, digest_file(path), own, len(found.skipped))
        elif not found.skipped and not found.misfits:
            found.skipped.append((path.name, "holds no images"))
        return replace(found, places=[]), shard

    def _recall(self, workers: int) -> None:
        """Takes what an earlier call has finished; what it left out goes into the report again."""
        numbers = {path.name: number for number, path in enumerate(self.paths)}
        lacking = [numbers[shard.name] for shard in self.index.shards if shard.left_out]
        for found in in_order(self._surveyed, lacking, workers, task=1):
            self.report.skipped += found.skipped
        for shard in self.index.shards:
            self.mixing.add(self._table(shard)["label"])

    def _surveyed(self, number: int) -> Survey:
        path = self.paths[number]
        found = survey(path, self.terms, _known(places_path(self.index.folder, path.name)))
        return replace(found, places=[])

    def _table(self, shard: Shard) -> Table:
        with no_damage("remove it and the index, and run the command again"):
            return read_places(self.index.folder, shard)

    def _note(self, found: Survey, on_unreadable: str) -> None:
        if found.skipped and on_unreadable == "error":
            name, reason = found.skipped[0]
            raise UserError(f"{printable(name)}: {reason}; mend or remove it, or skip unreadable")
        self.report.skipped += found.skipped
        for reason, more in found.misfits.items():
            before = self.misfits.get(reason, replace(more, count=0))
            self.misfits[reason] = replace(before, count=before.count + more.count)

    def _take(self, shard: Shard) -> None:
        if self.index.complete:
            raise UserError(
                f"{self.index.root}: holds a data set of these shards as they were before ({shard.name} is "
                "new); give a new folder to index what is there now"
            )
        there = {one.name: one for one in (*self.index.shards, shard)}
        shards = tuple(there[path.name] for path in self.paths if path.name in there)
        self.index = replace(self.index, shards=shards)
        self.index.write()
        self.mixing.add(self._table(shard)["label"])
        if len(shards) * _EIGHTH >= len(self.paths):
            self._refuse_sorted()

    def _finish(self) -> None:
        self._refuse_misfits()
        if not self.index.shards:
            raise UserError(
                f"{self.source}: none of its images can be used{first_reason(self.report.skipped)}"
            )
        self._refuse_sorted()
        classes = self._classes()
        complete = replace(self.index, classes=classes, complete=True)
        complete.write()
        self.report.count, self.report.classes = complete.count, classes
        self.report.class_counts = {name: self.mixing.counts[name] for name in classes}

    def _classes(self) -> tuple[str, ...]:
        self.report.labels_from = says(self.terms.label_key)
        names = class_names(self.mixing.counts)
        if self.index.origin["labels"] == "none" or names == ("",):
            if self.terms.label_key is not None:
                raise UserError(
                    f"{self.source}: --label-column {self.terms.label_key}: no .json has such a class"
                )
            self.report.labels_from = ""
            return ()
        if "" in names:
            raise UserError(
                f"{self._without_class()}: has no class ({says(self.terms.label_key)}) while others have; "
                "add it, or allowed: --labels none"
            )
        if len(names) == 1:
            self.report.one_class = names[0]
            return ()
        return names

    def _without_class(self) -> str:
        for shard in self.index.shards:
            table = self._table(shard)
            for member in (table["label"] == b"").nonzero()[0].tolist():
                return f"{self.index.shards_root / shard.name}: {place_in(table, member).name}"
        raise AssertionError("who counted them has read the same tables")

    def _refuse_sorted(self) -> None:
        if self.mixing.is_sorted:
            number = f"{len(self.index.shards)} of {counted(len(self.paths), 'shard')}"
            raise UserError(
                f"{self.source}: is sorted by class: in {number}, {self.mixing.words()}; training needs them "
                f"mixed, and a copy mixes them: {self._copying}"
            )

    def _refuse_misfits(self) -> None:
        if not self.misfits:
            return
        bad = sum(misfits.count for misfits in self.misfits.values())
        ranked = sorted(self.misfits.items(), key=lambda item: -item[1].count)
        parts = [f"{few.count} {reason} (the first: {printable(few.first)})" for reason, few in ranked]
        raise UserError(
            f"{self.source}: {counted(bad, 'image')} cannot be used in place: {', '.join(parts)}; "
            f"a copy makes them fit: {self._copying}"
        )

    @property
    def _copying(self) -> str:
        height, width = self.terms.height, self.terms.width
        size = f"--resolution {height}" if height == width else f"--size {height}x{width}"
        return f"hrgan prepare {self.source} ANOTHER-FOLDER {size}"


def _known(path: Path) -> Table | None:
    """The places that an earlier call has published, whether an index lists them or not."""
    try:
        return parse_places(read_bytes(path, _MOST_PLACES))
    except (FileNotFoundError, Damaged):
        return None
