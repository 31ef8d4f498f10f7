"""From the rows of a label file to the class of each picture: which picture a row means, which column holds
the class, and what may be one."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pipeline.data.sources.labels import LabelTable
from pipeline.errors import UserError
from pipeline.images.kinds import SUFFIXES, suffix_of

Absent = Literal["error", "skip"]
_LOOKED_AT = 200  # rows, to tell which column has the names


def classes_of_rows(
    table: LabelTable, names: Sequence[str], column: str | None = None, on_absent: Absent = "error"
) -> tuple[list[str], int]:
    """The class of each of `names`, and how many rows were left out.

    column: name or number (from 1) of the column that has the classes. on_absent: "skip" leaves out rows of
    pictures that are not there. UserError for a picture without a class or with two, and for classes that
    are no names or whole numbers.
    """
    pictures = _Pictures(names)
    key, header, rows, first = _open(table, pictures)
    value = _value_column(table, header, key, len(rows[0]) if rows else 2, column)
    words = Words([row[value] for row in rows], table.classes)
    classes: dict[int, str] = {}
    left_out = 0
    for number, row in enumerate(rows):
        where = f"{table.where}: entry {first + number}"
        picture = pictures.one(row[key], where)
        if picture is None:
            if on_absent == "skip":
                left_out += 1
                continue
            raise UserError(_absent(table.where, row[key], names))
        name = words.word(number, f"{where}: {row[key]}")
        if classes.setdefault(picture, name) != name:
            raise UserError(f"{where}: {row[key]} has two classes, {classes[picture]} and {name}")
    missing = [name for number, name in enumerate(names) if number not in classes]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        raise UserError(
            f"{table.where}: no class for {missing[0]} ({len(missing)} of {len(names)} {have} none)"
        )
    return [classes[number] for number in range(len(names))], left_out


def _open(
    table: LabelTable, pictures: _Pictures
) -> tuple[int, Sequence[str] | None, Sequence[Sequence[Any]], int]:
    """(column of the names, header, rows below it, number of the first of these)"""
    rows, header, first = table.rows, table.header, table.first
    key = _name_column(rows, pictures)
    if rows and header is None:
        top = str(rows[0][key])
        if pictures.find(top) == [] and (suffix_of(top) not in SUFFIXES):
            rows, header, first = rows[1:], [str(cell) for cell in rows[0]], first + 1
    return key, header, rows, first


def _name_column(rows: Sequence[Sequence[Any]], pictures: _Pictures) -> int:
    """The column in which most cells name pictures; exact names count more than others."""
    looked_at = rows[:_LOOKED_AT]
    width = len(rows[0]) if rows else 1

    def score(column: int) -> tuple[int, int]:
        cells = [str(row[column]) for row in looked_at]
        return sum(map(pictures.has, cells)), sum(bool(pictures.find(cell)) for cell in cells)

    return max(range(width), key=score)


def _value_column(
    table: LabelTable, header: Sequence[str] | None, key: int, width: int, column: str | None
) -> int:
    # A table written with its row numbers has a first column without a name.
    others = [n for n in range(width) if n != key and not (header and n < key and not header[n])]
    titles = [header[n] if header else str(n + 1) for n in others]
    if column is not None:
        if column not in titles:
            raise UserError(f"{table.where}: has no column {column!r} of classes; allowed: {_some(titles)}")
        return others[titles.index(column)]
    if not others:
        raise UserError(
            f"{table.where}: has no column of classes beside {header[key] if header else 'names'}"
        )
    if len(others) > 1:
        raise UserError(
            f"{table.where}: has several columns beside the names ({_some(titles)}); "
            "choose one: --label-column NAME"
        )
    return others[0]


class Words:
    """The cells of a column of classes, as names of classes. names: what classes are called by number."""

    def __init__(self, cells: Sequence[Any], names: Sequence[str] = ()) -> None:
        self._cells, self._names = cells, names
        self._all_numbers = all(_is_number(cell) for cell in cells)

    def word(self, number: int, where: str) -> str:
        """The name in a cell. Errors: UserError, which begins with `where`, for what cannot be one."""
        cell = self._cells[number]
        if isinstance(cell, list):
            cell = _hot(cell, where)
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


def _hot(vector: list[Any], where: str) -> int:
    """The class that a vector stands for by its single 1, as stylegan2-ada-pytorch writes classes."""
    whole = [value for value in vector if isinstance(value, int | float) and value in (0, 1)]
    if len(whole) == len(vector) and whole.count(1) == 1:
        return whole.index(1)
    raise UserError(
        f"{where}: {json.dumps(vector):.60} is a vector; models here take one class an image: a name, a "
        "whole number, or a vector with a single 1"
    )


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return False
    return re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", str(cell)) is not None


class _Pictures:
    """Finds pictures by the names that label files give them: a part of a path from its end, with or without
    folders or suffix, in any Unicode normal form."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._exact = {_normal(name): number for number, name in enumerate(names)}
        self._by_file: Mapping[str, list[int]] | None = None

    def has(self, label: str) -> bool:
        return _normal(label) in self._exact

    def find(self, label: str) -> list[int]:
        """The numbers of all pictures that a name may mean."""
        path = _normal(label)
        if path in self._exact:
            return [self._exact[path]]
        if self._by_file is None:
            self._by_file = self._files()
        parts = path.split("/")
        return [
            number
            for number in self._by_file.get(parts[-1], ())
            if _ends_alike(parts[:-1], _normal(self._names[number]).split("/")[:-1])
        ]

    def one(self, label: Any, where: str) -> int | None:
        """The number of the one picture that a name means; None if there is none. UserError if there are
        several."""
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise UserError(f"{where}: {label!r:.60}: must be a picture's name")
        numbers = self.find(str(label))
        if len(numbers) > 1:
            raise UserError(
                f"{where}: {label} may be {self._names[numbers[0]]} or {self._names[numbers[1]]}; "
                "write it with its folder and suffix"
            )
        return numbers[0] if numbers else None

    def _files(self) -> Mapping[str, list[int]]:
        by_file: dict[str, list[int]] = defaultdict(list)
        for path, number in self._exact.items():
            file = path.rpartition("/")[2]
            for called in {file, file.rpartition(".")[0] or file}:
                by_file[called].append(number)
        return by_file


def _ends_alike(a: list[str], b: list[str]) -> bool:
    shared = min(len(a), len(b))
    return shared == 0 or a[-shared:] == b[-shared:]


def _normal(name: str) -> str:
    parts = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _absent(where: str, label: Any, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(label), names[:5000], n=1)
    hint = f"; the nearest is {near[0]}" if near else ""
    return f"{where}: {label}: no such image in the source{hint}; --on-absent skip leaves such rows out"


def _some(titles: Sequence[str], most: int = 12) -> str:
    return ", ".join(titles[:most]) + (f", ... ({len(titles)} in all)" if len(titles) > most else "")
