"""From the rows of a label file to what it says of each picture: which picture a row means, which columns
hold the class and the text, and what may be one."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.labels import LabelTable
from pipeline.data.sources.naming import Pictures, in_number_order
from pipeline.errors import UserError
from pipeline.images.kinds import SUFFIXES, suffix_of

Absent = Literal["error", "skip"]
_LOOKED_AT = 200  # rows, to tell which column has the names
_MOST_NUMBERS = 1 << 16  # of a vector
_LARGEST = float(np.finfo(np.float32).max)
_ONE = {"classes": "class", "vectors": "vector", "texts": "text"}
_BOXES = re.compile(r"(?:n\d{8}(?: -?\d+){4} ?)+")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Told:
    """What a label file says of each picture, in their order.

    classes: names, if it has them. vectors: float32 [N, D] in place of classes. captions: texts, if they were
    asked for; None where there is none. absent: how many rows were left out. unchosen: the titles of several
    columns of which none was chosen for classes.
    """

    classes: list[str] | None = None
    vectors: npt.NDArray[np.float32] | None = None
    captions: list[str | None] | None = None
    absent: int = 0
    unchosen: Sequence[str] = ()


def told_by_rows(
    table: LabelTable,
    names: Sequence[str],
    column: str | None = None,
    on_absent: Absent = "error",
    caption_column: str | None = None,
) -> Told:
    """What the rows of a label file say of the pictures `names`.

    column, caption_column: names or numbers (from 1) of the columns that have the classes and the captions.
    on_absent: "skip" leaves out rows of pictures that are not there. UserError for a picture without a row or
    with two that differ, and for classes that are no names, whole numbers or vectors of one length.
    """
    pictures = Pictures(names)
    if table.nameless:
        table = _named(table, names)
    key, header, rows, first = open_table(table, pictures)
    titled = _titled(header, key, len(rows[0]) if rows else 2)
    caption = None if caption_column is None else _column(table, titled, caption_column, "texts")
    value, unchosen = _value_column(table, header, key, titled, column, caption)
    matched = _Matched(table.where, rows, key, first, pictures, names, on_absent)
    captions = None if caption is None else matched.values(_captions(rows, caption), "texts")
    if value is None:
        return Told(None, None, captions, matched.left_out, unchosen)
    cells = [row[value] for row in rows]
    if any(isinstance(cell, list) for cell in cells) and not all(map(_is_hot, cells)):
        rows_of_bytes = matched.values(partial(_vector, cells, _length(cells)), "vectors")
        vectors = np.frombuffer(b"".join(rows_of_bytes), np.float32).reshape(len(names), -1)
        return Told(None, vectors, captions, matched.left_out)
    classes = matched.values(Words(cells, table.classes).word, "classes")
    return Told(classes, None, captions, matched.left_out)


def _named(table: LabelTable, names: Sequence[str]) -> LabelTable:
    """A table of classes alone, as ImageNet's validation pictures have it, with the names they mean."""
    if len(table.rows) != len(names) or not in_number_order(names):
        raise UserError(
            f"{table.where}: has a class in each row but no names; that is allowed for pictures that are "
            f"numbered one after the other, as many as rows: {len(table.rows)} rows, {len(names)} pictures"
        )
    return replace(table, rows=[[name, row[0]] for name, row in zip(names, table.rows, strict=True)])


class _Matched:
    """The row of each picture. where: the label file, for errors."""

    def __init__(
        self,
        where: str,
        rows: Sequence[Sequence[Any]],
        key: int,
        first: int,
        pictures: Pictures,
        names: Sequence[str],
        on_absent: Absent,
    ) -> None:
        self._where, self._rows, self._key, self._first, self._names = where, rows, key, first, names
        self.left_out = 0
        self._pairs: list[tuple[int, int]] = []  # picture, row
        for number, row in enumerate(rows):
            picture = pictures.one(row[key], f"{where}: entry {first + number}")
            if picture is not None:
                self._pairs.append((picture, number))
            elif on_absent == "skip":
                self.left_out += 1
            else:
                raise UserError(_absent(where, row[key], names))

    def values(self, value: Callable[[int, str], _T], what: str) -> list[_T]:
        """The value of each picture. value: of the row with a number; with a place for its errors. Errors:
        UserError for a picture without a row, or with two whose values differ."""
        values: dict[int, _T] = {}
        for picture, number in self._pairs:
            where = f"{self._where}: entry {self._first + number}"
            label = _short(self._rows[number][self._key])
            got = value(number, f"{where}: {label}")
            if values.setdefault(picture, got) != got:
                said = "" if isinstance(got, bytes) else f", {_short(values[picture])} and {_short(got)}"
                raise UserError(f"{where}: {label} has two {what}{said}")
        missing = [name for number, name in enumerate(self._names) if number not in values]
        if missing:
            have = "has" if len(missing) == 1 else "have"
            raise UserError(
                f"{self._where}: no {_ONE[what]} for {missing[0]} ({len(missing)} of {len(self._names)} "
                f"{have} none)"
            )
        return [values[number] for number in range(len(self._names))]


def _captions(rows: Sequence[Sequence[Any]], column: int) -> Callable[[int, str], str | None]:
    def caption(number: int, where: str) -> str | None:
        cell = rows[number][column]
        if cell is not None and (isinstance(cell, bool) or not isinstance(cell, str | int | float)):
            raise UserError(f"{where}: {json.dumps(cell):.40}: must be a text")
        return None if cell is None else str(cell)

    return caption


def _is_hot(cell: Any) -> bool:
    """Whether a cell is a vector with a single 1 among zeros, as stylegan2-ada-pytorch writes classes."""
    if not isinstance(cell, list):
        return False
    whole = [value for value in cell if isinstance(value, int | float) and value in (0, 1)]
    return len(whole) == len(cell) and whole.count(1) == 1


def _length(cells: Sequence[Any]) -> int:
    """The length that most vectors have, which then must be that of all."""
    return Counter(len(cell) for cell in cells if isinstance(cell, list)).most_common(1)[0][0]


def _vector(cells: Sequence[Any], length: int, number: int, where: str) -> bytes:
    cell = cells[number]
    shown = f"{where}: {json.dumps(cell):.60}"
    if not isinstance(cell, list):
        raise UserError(f"{shown} stands where others have vectors of {length} numbers")
    if len(cell) != length or not 1 <= length <= _MOST_NUMBERS:
        raise UserError(
            f"{shown} has {len(cell)} numbers where most have {length}; all must have as many, 1 to "
            f"{_MOST_NUMBERS}"
        )
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in cell):
        raise UserError(f"{shown} is no vector of numbers")
    if not all(abs(value) <= _LARGEST for value in cell):
        raise UserError(f"{shown} holds a number that float32 has not")
    return np.asarray(cell, np.float32).tobytes()


def open_table(
    table: LabelTable, pictures: Pictures
) -> tuple[int, Sequence[str] | None, Sequence[Sequence[Any]], int]:
    """(column of the names, header, rows below it, number of the first of these)"""
    rows, header, first = table.rows, table.header, table.first
    key = _name_column(rows, pictures)
    if rows and header is None:
        top = str(rows[0][key])
        if pictures.find(top) == [] and (suffix_of(top) not in SUFFIXES):
            rows, header, first = rows[1:], [str(cell) for cell in rows[0]], first + 1
    return key, header, rows, first


def _name_column(rows: Sequence[Sequence[Any]], pictures: Pictures) -> int:
    """The column in which most cells name pictures; exact names count more than others."""
    looked_at = rows[:_LOOKED_AT]
    width = len(rows[0]) if rows else 1

    def score(column: int) -> tuple[int, int]:
        cells = [str(row[column]) for row in looked_at]
        return sum(map(pictures.has, cells)), sum(bool(pictures.find(cell)) for cell in cells)

    return max(range(width), key=score)


def _titled(header: Sequence[str] | None, key: int, width: int) -> dict[str, int]:
    """The columns beside the names, by their titles or numbers."""
    # A table written with its row numbers has a first column without a name.
    others = [n for n in range(width) if n != key and not (header and n < key and not header[n])]
    return {header[n] if header else str(n + 1): n for n in others}


def _column(table: LabelTable, titled: Mapping[str, int], column: str, what: str) -> int:
    if column not in titled:
        raise UserError(f"{table.where}: has no column {column!r} of {what}; allowed: {_some([*titled])}")
    return titled[column]


def _value_column(
    table: LabelTable,
    header: Sequence[str] | None,
    key: int,
    titled: Mapping[str, int],
    column: str | None,
    caption: int | None,
) -> tuple[int | None, Sequence[str]]:
    """(the column of the classes, or None; the titles of those that might be it)"""
    if column is not None:
        return _column(table, titled, column, "classes"), ()
    titles = [title for title, number in titled.items() if number != caption]
    if len(titles) == 1:
        return titled[titles[0]], ()
    if caption is not None:
        return None, titles
    if not titles:
        raise UserError(
            f"{table.where}: has no column of classes beside {header[key] if header else 'names'}"
        )
    raise UserError(
        f"{table.where}: has several columns beside the names ({_some(titles)}); "
        "choose one: --label-column NAME"
    )


class Words:
    """The cells of a column of classes, as names of classes. names: what classes are called by number."""

    def __init__(self, cells: Sequence[Any], names: Sequence[str] = ()) -> None:
        self._cells = _without_boxes(cells)
        self._names = names
        self._all_numbers = all(_is_number(cell) for cell in cells)

    def word(self, number: int, where: str) -> str:
        """The name in a cell. Errors: UserError, which begins with `where`, for what cannot be one."""
        cell = self._cells[number]
        if _is_hot(cell):
            cell = cell.index(1)
        if isinstance(cell, bool) or not isinstance(cell, str | int | float) or str(cell).strip() == "":
            raise UserError(f"{where}: {json.dumps(cell):.40}: its class must be a name or a number")
        text = str(cell).strip()
        if self._all_numbers and not re.fullmatch(r"[+-]?\d+", text):
            if not float(text).is_integer():
                raise UserError(
                    f"{where}: {text} is a measure, not a class; a class is a name or a whole number"
                )
            text = str(int(float(text)))
        if self._names and text.isdigit() and int(text) < len(self._names):
            return self._names[int(text)]
        return unicodedata.normalize("NFC", text)


def _without_boxes(cells: Sequence[Any]) -> Sequence[Any]:
    """ImageNet's class and its boxes as one text, "n01440764 10 20 30 40": the class of each."""
    if all(isinstance(cell, str) and _BOXES.fullmatch(cell) for cell in cells):
        return [cell.split()[0] for cell in cells]
    return cells


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return False
    return re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", str(cell)) is not None


def _absent(where: str, label: Any, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(label), names[:5000], n=1)
    hint = f"; the nearest is {near[0]}" if near else ""
    return (
        f"{where}: {_short(label)}: no such image in the source{hint}; --on-absent skip leaves such rows out"
    )


def _short(cell: Any) -> str:
    """A cell in a line: a text in a table may have several lines."""
    return " ".join(str(cell).split())[:80]


def _some(titles: Sequence[str], most: int = 12) -> str:
    return ", ".join(map(_short, titles[:most])) + (
        f", ... ({len(titles)} in all)" if len(titles) > most else ""
    )
