"""Pictures in the rows of tables, whichever format the tables' files have."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from pipeline.data.sources.annotated import AnnotatedSource, annotations_of
from pipeline.data.sources.columns import Columns, Schema, class_of
from pipeline.data.sources.label_rows import Told
from pipeline.data.sources.numbered import Numbered, stems
from pipeline.data.sources.source import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    Wanted,
    reading_picture,
    within_limit,
)
from pipeline.errors import UserError
from pipeline.images.normalised import Unreadable

_MOST_KEPT_BYTES = 128 << 20  # of groups of rows, in each process


class Table(Protocol):
    """A file of rows in groups, each of which can be read alone. It opens its file where it reads it.

    path: the file. name: its path in the source. rows: how many each group has. fault: why there may be more
    rows than these; "" if there are not.
    """

    path: Path
    name: str
    schema: Schema
    rows: Sequence[int]
    fault: str

    def column(self, group: int, name: str) -> Any:
        """A column of one group, as a pyarrow array; Unreadable, with the reason."""
        ...

    def cells(self, name: str) -> Iterator[Any]:
        """A column of all groups, cell by cell as Python has them; Unreadable as above."""
        ...

    def sizes(self, group: int, image: str) -> list[int]:
        """Bytes of each picture of a group, or of the whole group for each, where rows must be decoded to
        know."""
        ...


class RowsSource(FileSource):
    """The pictures in a column of one or several tables of the same columns.

    root: the folder of the set; a picture of which a row has the path alone must lie in it. Pictures are
    named FILE/ROW, and rows are read a group at a time; only the last groups are held.
    """

    def __init__(
        self, root: Path, tables: Sequence[Table], columns: Columns, wanted: Wanted, title: str
    ) -> None:
        super().__init__(title, wanted.reading)
        self._root, self._tables, self._columns = root, tables, columns
        _refuse_other_columns(tables, self._columns)
        self._places = [(table, group) for table in tables for group in range(len(table.rows))]
        self._ends = [0, *accumulate(table.rows[group] for table, group in self._places)]
        self._kept: OrderedDict[int, Any] = OrderedDict()
        labels, fault = self._labels(wanted.label_column)
        self.listing = Listing(
            Numbered(stems([table.name for table in tables]), [sum(table.rows) for table in tables]),
            [size for table in tables for size in _sizes(table, self._columns.image)],
            labels,
            [(table.name, table.fault) for table in tables if table.fault],
            labels_fault=fault,
            labels_from=f"column {columns.label}" if labels else "",
            label_column=wanted.label_column,
            inner=True,
            depends={} if wanted.image_column is None else {"image_column": columns.image},
        )

    def captions(self, column: str) -> list[str | None]:
        """The text of each row in a column; None where there is none. UserError if it cannot be read."""
        texts = (cell for table in self._tables for cell in _cells(table, column))
        return [text.strip() or None if text is not None else None for text in texts]

    def _bytes(self, number: int) -> bytes:
        place = bisect_right(self._ends, number) - 1
        cell = self._group(place)[number - self._ends[place]].as_py()
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        return self._file(path) if data is None and path else within_limit(data or b"")

    def _group(self, place: int) -> Any:
        """The pictures of a group of rows; the last ones are kept, for rows that lie side by side."""
        if place not in self._kept:
            table, group = self._places[place]
            self._kept[place] = table.column(group, self._columns.image)
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _MOST_KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        return self._kept[place]

    def _file(self, name: str) -> bytes:
        """The picture of a row that has its path alone."""
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root.resolve()):
            raise Unreadable(f"is a path alone, {name:.200}, which leads out of {self._root.name}")
        if not path.is_file():
            raise Unreadable(f"is a path alone, {name:.200}, and no such file lies in {self._root.name}")
        with reading_picture(path), path.open("rb") as file:
            return within_limit(file.read(MOST_FILE_BYTES + 1))

    def _labels(self, asked: str | None) -> tuple[list[str] | None, str | None]:
        """(the class of each row or None, why that cannot be told); UserError instead if it was asked for."""
        column = self._columns.label
        if column is None:
            return None, self._columns.fault
        try:
            return [
                name for table in self._tables for name in _classes(table, column, self._columns.classes)
            ], None
        except UserError as error:
            if asked is not None:
                raise
            return None, str(error)


def rows_source(
    root: Path, tables: Sequence[Table], columns: Columns, wanted: Wanted, title: str
) -> RowsSource | AnnotatedSource:
    """The pictures of the tables, with their texts if they are asked for."""
    pictures = RowsSource(root, tables, columns, wanted, title)
    if columns.caption is None:
        return pictures
    told = Told(None, None, pictures.captions(columns.caption))
    return AnnotatedSource(pictures, annotations_of(told, f"{title}: column {columns.caption}"))


def _sizes(table: Table, image: str) -> Iterator[int]:
    for group, rows in enumerate(table.rows):
        try:
            yield from table.sizes(group, image)
        except Unreadable:  # each of its rows is named when its turn comes
            yield from [0] * rows


def _classes(table: Table, column: str, names: Sequence[str]) -> Iterator[str]:
    known: dict[object, str] = {}  # one text for all rows of a class
    for row, value in enumerate(_cells(table, column)):
        if value not in known:
            known[value] = class_of(value, names, f"{table.path}: row {row}: {column}")
        yield known[value]


def _cells(table: Table, column: str) -> Iterator[Any]:
    try:
        yield from table.cells(column)
    except Unreadable as error:
        raise UserError(f"{table.path}: column {column}: {error}") from error


def _refuse_other_columns(tables: Sequence[Table], columns: Columns) -> None:
    """UserError for a table whose columns are not those of the first."""
    first = tables[0].schema
    for table in tables:
        for name in filter(None, (columns.image, columns.label, columns.caption)):
            if name not in table.schema.names or table.schema.field(name).type != first.field(name).type:
                raise UserError(
                    f"{table.path}: its column {name} is not there, or of another type than in "
                    f"{tables[0].path.name}; tables of one set have the same columns"
                )


def first_line(error: BaseException) -> str:
    """The first line of what an error says, and at most 160 characters of it."""
    return f"{str(error).splitlines()[0] if str(error) else type(error).__name__:.160}"
