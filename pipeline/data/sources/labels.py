"""Reading label files in the forms that people have them: JSON, and tables separated by commas, semicolons,
tabs or blanks."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

ALLOWED = ".json, .jsonl, .csv, .tsv or .txt"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class LabelTable:
    """The rows of a label file, all of one length, at least 2.

    where: its name, for errors. header: the names of the columns, if the form of the file gives them;
    otherwise the first row may still be one. classes: names by class number, if the file gives them. first:
    the number of the first row, as a person counts. nameless: each row has a class number alone, so that it
    means a picture by its place.
    """

    where: str
    rows: Sequence[Sequence[Any]]
    header: Sequence[str] | None = None
    classes: Sequence[str] = ()
    first: int = 1
    nameless: bool = False


def read_table(path: Path) -> LabelTable | None:
    """The rows of a label file; None if it says that there are no labels."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror})") from error
    return parse_table(str(path), data)


def parse_table(where: str, data: bytes) -> LabelTable | None:
    """As `read_table`, of a file's content. where: its name, whose suffix tells its form."""
    suffix = where.lower().rpartition(".")[2]
    if suffix not in ("json", "jsonl", "csv", "tsv", "txt"):
        raise UserError(f"{where}: labels must be folders, folders:2, none, or a file ending in {ALLOWED}")
    text = _text(where, data)
    if suffix == "json":
        return _from_json(where, _parse(where, text))
    if suffix == "jsonl":
        lines = [line for line in text.splitlines() if line.strip()]
        return _from_json(where, [_parse(f"{where}: line {n}", line) for n, line in enumerate(lines, 1)])
    return _from_text(where, text, "\t" if suffix == "tsv" else None)


def _text(where: str, data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: cannot read as labels: is not {encoding}; save it as UTF-8") from error


def _parse(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error})") from error


def _from_json(where: str, content: Any) -> LabelTable | None:
    classes: Sequence[str] = ()
    if isinstance(content, dict) and isinstance(content.get("labels", ""), list | None):
        names = content.get("classes")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            classes = names
        content = content["labels"]
        if content is None:
            return None
    if isinstance(content, dict):
        content = [[name, value] for name, value in content.items()]
    if not isinstance(content, list):
        raise UserError(f"{where}: must be a JSON object of name: class, or a list of [name, class]")
    rows, header = _columns(content)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(header):
            raise UserError(f"{where}: entry {number}: {row!r:.60}; must be a name and a class")
    return LabelTable(where, rows, header, classes)


def _columns(entries: list[Any]) -> tuple[list[Any], list[str]]:
    """The rows of a JSON file and the names of their columns. entries: pairs, objects, or pairs of a name and
    an object."""
    first = entries[0] if entries else None
    if isinstance(first, dict):
        header = list(first)
        return [
            [entry.get(key) for key in header] if isinstance(entry, dict) else entry for entry in entries
        ], header
    if isinstance(first, list) and len(first) == 2 and isinstance(first[1], dict):
        keys = list(first[1])
        rows = [
            [pair[0], *(pair[1].get(key) for key in keys)]
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)
            else pair
            for pair in entries
        ]
        return rows, ["name", *keys]
    return entries, ["name", "class"]


def _from_text(where: str, text: str, separator: str | None) -> LabelTable:
    lines = text.splitlines()
    if lines and lines[0].lower().startswith("sep=") and len(lines[0]) == 5:  # a spreadsheet's own mark
        separator, lines = lines[0][4], lines[1:]
    tables = [_split(lines, mark) for mark in ((separator,) if separator else _SEPARATORS)]
    tables.append([line.split() for line in lines if line.strip()])
    # The way that gives most rows one number of columns; of equals the first.
    return _checked(where, max(tables, key=_even_rows))


def _split(lines: list[str], separator: str) -> list[list[str]]:
    try:
        rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator)
        return [[cell.strip() for cell in row] for row in rows if any(row)]
    except csv.Error:
        return []  # not separated so


def _even_rows(rows: list[list[str]]) -> int:
    """How many rows have the most frequent number of columns; 0 if that number is 1."""
    widths = Counter(map(len, rows))
    width, count = widths.most_common(1)[0] if widths else (0, 0)
    return count if width > 1 else 0


def _checked(where: str, rows: list[list[str]]) -> LabelTable:
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    if rows and all(len(row) == 1 and re.fullmatch(r"\d{1,9}", row[0]) for row in rows):
        return LabelTable(where, rows, nameless=True)
    first = 1
    if len(rows) > 2 and len(rows[0]) == 1 and rows[0][0].isdigit():
        rows, first = rows[1:], 2  # CelebA's tables begin with the number of rows
    header = None
    if len(rows) > 1 and len(rows[0]) == width - 1 > 0:
        header, rows, first = ["name", *rows[0]], rows[1:], first + 1  # and name all columns but the names'
    for number, row in enumerate(rows, first):
        if len(row) != width or width < 2:
            raise UserError(f"{where}: entry {number}: {row!r:.60}; must be a name and a class")
    return LabelTable(where, rows, header, (), first)
