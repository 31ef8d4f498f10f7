"""left-out.csv: what is not in a data set, and why; near-duplicates.csv: what is in it more than once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.reading import read_bytes
from pipeline.storage.atomic import publish_file

LEFT_OUT = "left-out.csv"
NEAR_DUPLICATES = "near-duplicates.csv"
_MOST_BYTES = 1 << 30
_ALONE = "left alone: "  # before the kind of a file that nobody took for a picture


def write_left_out(root: Path, rows: Iterable[tuple[str, str]], others: Iterable[tuple[str, str]]) -> None:
    """Publishes name and reason of every file of the source that is not in the data set. others: name and
    kind of those that were left alone, since they are no pictures."""
    alone = ((name, _ALONE + kind) for name, kind in others)
    _write(root / LEFT_OUT, ("name", "reason"), chain(rows, alone))


def write_near_duplicates(root: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Publishes the name of every near-duplicate that is in the data set, and that of the picture which it is
    like."""
    _write(root / NEAR_DUPLICATES, ("name", "like"), rows)


def _write(path: Path, head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> None:
    with (
        publish_file(path) as aside,
        # Names of files may be bytes that are no UTF-8.
        aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows([head, *rows])


def read_left_out(root: Path) -> list[tuple[str, str]]:
    """The rows that `write_left_out` wrote, without the files that were left alone; nothing if it is not
    there, or is no such file any more."""
    try:
        data = read_bytes(root / LEFT_OUT, _MOST_BYTES)
    except (FileNotFoundError, Damaged):
        return []
    text = data.decode("utf-8", errors="surrogateescape")
    rows = csv.reader(io.StringIO(text, newline=""))
    return [(row[0], row[1]) for row in rows if len(row) == 2 and not row[1].startswith(_ALONE)][1:]
