"""Which class each picture of a source has: as the source itself says, by its folders, or by a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.data.sources.label_rows import Absent
from pipeline.data.sources.labels import ALLOWED
from pipeline.data.sources.source import Listing
from pipeline.data.sources.tables import Labelling, of_file, own_captions, own_classes, own_columns
from pipeline.errors import UserError

MODES = ("auto", "folders", "folders:2", "none")
_SHOWN = 4

# Folders that part a data set otherwise than by what its pictures show.
_SPLITS = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev|eval(uation)?|holdout|unlabell?ed)[-_]?\d*"
)
_PARTS = re.compile(
    r"(imgs?|images?|photos?|pictures?|thumbnails?|masks?|annotations?|seg(mentation)?s?|labels?)[-_]?(\d+(x\d+)?)?"
    r"|img_(align_)?celeba(_png)?|in-the-wild-images"
)
_BLOCKS = (100, 500, 1000, 2000, 5000, 10_000, 50_000, 100_000)
"""Numbers of files for which people begin a new folder."""


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct names in order: by number if all of them are numbers, otherwise alphabetically."""
    names = set(labels)
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else None))


def labelling(
    listing: Listing,
    title: str,
    labels: str,
    column: str | None = None,
    on_absent: Absent = "error",
    caption_column: str | None = None,
) -> Labelling:
    """The classes of a source's pictures, and their texts if a column of them is asked for.

    labels: "auto" takes what the source says itself (.cls, dataset.json, metadata.csv), else top folders
    unless they look like splits or blocks; "folders" and "folders:2" take top folders, or those below them,
    in any case; "none"; or a file. title: the source, for errors. column, caption_column, on_absent: as
    `told_by_rows` has them.
    """
    if column is not None and labels in MODES[1:]:
        raise UserError(f"--label-column {column}: chooses from a file's columns; not with --labels {labels}")
    level = re.fullmatch(r"folders(?::([1-9]))?", labels)
    if level is None and labels not in MODES:
        if not Path(labels).is_file():
            raise UserError(
                f"{labels}: no such labels; allowed: {', '.join(MODES)}, or a file ending in {ALLOWED}"
            )
        return of_file(Path(labels), listing.names, column, on_absent, caption_column)
    if labels == "none":
        found = Labelling()
    elif level and not _says_itself(listing, labels):
        found = Labelling(_asked_folders(_paths(listing), title, int(level[1] or 1)), "folders")
    else:
        found = _classes(listing, title, column, on_absent)
    if caption_column is None or any(field.name == "text" for field in listing.fields):
        return found
    told = own_captions(listing, title, caption_column, on_absent)
    return replace(
        found,
        annotations=(*found.annotations, *told.annotations),
        absent=max(found.absent, told.absent),
        used=found.used | told.used,
    )


def _classes(listing: Listing, title: str, column: str | None, on_absent: Absent) -> Labelling:
    """The classes that a source says itself, else those that its folders are likely to be."""
    if listing.labels_fault is not None:
        raise UserError(f"{listing.labels_fault}; or allowed: --labels none, --labels folders")
    if listing.labels is not None and listing.label_column == column:
        return Labelling(listing.labels, listing.labels_from)
    told = own_classes(listing, title, column, on_absent)
    if told is not None:
        return told
    if column is not None:
        raise UserError(
            f"--label-column {column}: {title} has no such column of labels{own_columns(listing)}; give a "
            "file: --labels FILE"
        )
    if not listing.in_folders:
        return Labelling(None, listing.labels_from)
    classes = _likely_folders(_paths(listing), title)
    return Labelling(classes, "folders" if classes else "")


def _paths(listing: Listing) -> Sequence[str]:
    """The names, in which only folders are parted by "/"."""
    if not listing.inner:
        return listing.names
    return [":".join(name.rsplit("/", 1)) for name in listing.names]


def _says_itself(listing: Listing, labels: str) -> bool:
    """Whether folders are asked of a source that has none but has classes of its own (.cls): those count, as
    they always have."""
    return (
        labels == "folders" and listing.labels is not None and not any("/" in name for name in listing.names)
    )


def _asked_folders(names: Sequence[str], title: str, level: int) -> Sequence[str]:
    parts = _below_shared(names)
    for name, part in zip(names, parts, strict=True):
        if len(part) <= level:
            raise UserError(
                f"{title}: {name}: lies in no folder that could be its class (--labels folders"
                f"{f':{level}' if level > 1 else ''}); move it into one, or allowed: --labels none"
            )
    return _Level(parts, level - 1)


def _likely_folders(names: Sequence[str], title: str) -> Sequence[str] | None:
    """The top folder of each picture; None if there are no folders. UserError if they are hardly classes."""
    parts = _below_shared(names)
    flat = (name for name, part in zip(names, parts, strict=True) if len(part) == 1)
    first = next(flat, None)
    if first is not None:
        if 1 + sum(1 for _ in flat) == len(names):
            return None
        raise UserError(
            f"{first}: lies in no class folder while other images do; "
            "move it into one, or allowed: --labels none"
        )
    tops = class_names(part[0] for part in parts)
    _refuse_splits(tops, parts, title)
    _refuse_blocks(tops, parts, title)
    return _Level(parts, 0)


@dataclass(frozen=True)
class _Parts(Sequence[list[str]]):
    """The parts of each path, without the first `shared`; none is kept, since there may be any number."""

    names: Sequence[str]
    shared: int

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: Any) -> Any:
        return self.names[number].split("/")[self.shared :]

    def __iter__(self) -> Iterator[list[str]]:
        return (name.split("/")[self.shared :] for name in self.names)


@dataclass(frozen=True)
class _Level(Sequence[str]):
    """One part of each path."""

    parts: _Parts
    level: int

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: Any) -> Any:
        return self.parts[number][self.level]

    def __iter__(self) -> Iterator[str]:
        return (part[self.level] for part in self.parts)


def _below_shared(names: Sequence[str]) -> _Parts:
    """The parts of each path, without the folders that all paths share."""
    shared = names[0].split("/")[:-1] if names else []
    for name in names:
        part = name.split("/")[:-1]
        while part[: len(shared)] != shared:
            shared = shared[:-1]
    return _Parts(names, len(shared))


def _refuse_splits(tops: Sequence[str], parts: _Parts, title: str) -> None:
    if not all(_SPLITS.fullmatch(top.lower()) or _PARTS.fullmatch(top.lower()) for top in tops):
        return
    deeper = ""
    if all(len(part) > 2 for part in parts):
        deeper = (
            f"--labels folders:2 (the folders in them: {_some(class_names(part[1] for part in parts))}), "
        )
    shared = parts.names[0].split("/")[: parts.shared]
    one = "/".join([title.rstrip("/"), *shared, "train" if "train" in tops else tops[0]])
    raise UserError(
        f"{title}: its folders {_some(tops)} are hardly classes, by their names; allowed: {deeper}--labels "
        f"folders (classes all the same), --labels none, or one of them as SOURCE ({one})"
    )


def _refuse_blocks(tops: Sequence[str], parts: _Parts, title: str) -> None:
    if not all(top.isascii() and top.isdigit() for top in tops):
        return
    padded = len({len(top) for top in tops}) == 1 and len(tops[0]) >= 4
    if padded or _numbered_in_blocks(parts):
        raise UserError(
            f"{title}: its folders {_some(tops)} look like blocks of files, not classes; "
            "allowed: --labels none (no classes), --labels folders (a class each)"
        )


def _numbered_in_blocks(parts: _Parts) -> bool:
    """Whether the numbers in the files' names say in which folder each lies."""
    sizes, files = list(_BLOCKS), set[int]()
    for count, part in enumerate(parts, 1):
        match = re.search(r"(\d+)\D*$", part[-1].rpartition(".")[0])
        if match is None:
            return False
        top, file = int(part[0]), int(match[1])
        sizes = [size for size in sizes if top in (file // size, file // size * size)]
        files.add(file)
        if not sizes or len(files) < count:
            return False
    return True


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
