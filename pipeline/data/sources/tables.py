"""What label files say of a source's pictures: one that the user names, or those that the source brings
along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.sources.annotated import Annotation, annotations_of
from pipeline.data.sources.label_rows import Absent, told_by_rows
from pipeline.data.sources.labels import LabelTable, parse_table, read_table
from pipeline.data.sources.source import Listing
from pipeline.errors import UserError

_CLASS_TITLES = ("label", "class")
"""Columns that are classes without being asked for."""

_SHOWN = 12


@dataclass(frozen=True)
class Labelling:
    """What is said of a source's pictures. classes: one for each; None if they have none. where: who says so.
    absent: how many rows of a label file were left out. annotations: what pictures have beside them. used:
    the names of the source's own tables that were used."""

    classes: Sequence[str] | None = None
    where: str = ""
    absent: int = 0
    annotations: tuple[Annotation, ...] = ()
    used: frozenset[str] = frozenset()


def of_file(
    path: Path, names: Sequence[str], column: str | None, on_absent: Absent, caption_column: str | None
) -> Labelling:
    """What a user's file says of the pictures `names`. Errors: UserError."""
    return _of_table(read_table(path), names, column, on_absent, caption_column, path.name)


def own_classes(listing: Listing, title: str, column: str | None, on_absent: Absent) -> Labelling | None:
    """What the source's own tables say of its classes, None if nothing: dataset.json says it always, others
    if they have the column that is asked for, or without one a column called label or class."""
    if listing.label_file is not None:
        return _own(*listing.label_file, listing.names, title, column, on_absent, None)
    for name, content in listing.tables:
        titles = _titles(parse_table(name, content))
        wanted = _CLASS_TITLES if column is None else (column,)
        chosen = next((title for title in wanted if title in titles), None)
        if chosen is not None:
            return _own(name, content, listing.names, title, chosen, on_absent, None)
    return None


def own_captions(listing: Listing, title: str, column: str, on_absent: Absent) -> Labelling:
    """The texts in a column of the source's own tables. Errors: UserError, if there is no such column."""
    for name, content in listing.tables:
        if column in _titles(parse_table(name, content)):
            return _own(name, content, listing.names, title, None, on_absent, column)
    raise UserError(
        f"--caption-column {column}: {title} has no such column of texts{own_columns(listing)}; give a file: "
        "--labels FILE"
    )


def own_columns(listing: Listing) -> str:
    """The columns that the source's own tables have: a part of a sentence."""
    known = [
        f"{name} has {' '.join(', '.join(_titles(parse_table(name, content))[:_SHOWN]).split())}"
        for name, content in listing.tables
    ]
    return f" ({'; '.join(known)})" if known else ""


def _own(
    name: str,
    content: bytes,
    names: Sequence[str],
    title: str,
    column: str | None,
    on_absent: Absent,
    caption_column: str | None,
) -> Labelling:
    where = f"the source's own {name}"
    folder = name.rpartition("/")[0]
    inside = names
    if folder and all(picture.startswith(f"{folder}/") for picture in names):
        inside = [picture[len(folder) + 1 :] for picture in names]
    try:
        return _of_table(
            parse_table(name, content), inside, column, on_absent, caption_column, where, frozenset((name,))
        )
    except UserError as error:
        raise UserError(f"{title}: {error}; or allowed: --labels none, folders, or another file") from error


def _of_table(
    table: LabelTable | None,
    names: Sequence[str],
    column: str | None,
    on_absent: Absent,
    caption_column: str | None,
    where: str,
    used: frozenset[str] = frozenset(),
) -> Labelling:
    if table is None:
        return Labelling(None, where, used=used)
    told = told_by_rows(table, names, column, on_absent, caption_column)
    if told.unchosen:
        where = f"{where}; --label-column NAME takes {' or '.join(told.unchosen[:_SHOWN])}"
    return Labelling(told.classes, where, told.absent, annotations_of(told, table.where), used)


def _titles(table: LabelTable | None) -> Sequence[str]:
    if table is None or table.nameless:
        return ()
    return table.header or [str(cell) for row in table.rows[:1] for cell in row]
