"""left-out.csv: what is not in a data set, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import Damaged
from pipeline.reading import read_bytes
from pipeline.storage.atomic import publish_file

LEFT_OUT = "left-out.csv"
_MOST_BYTES = 1 << 30
_HEAD = ("name", "reason")


def write_left_out(root: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Publishes name and reason of every file of the source that is not in the data set."""
    with (
        publish_file(root / LEFT_OUT) as aside,
        # Names of files may be bytes that are no UTF-8.
        aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file).writerows([_HEAD, *rows])


def read_left_out(root: Path) -> list[tuple[str, str]]:
    """What `write_left_out` wrote; nothing if it is not there, or is no such file any more."""
    try:
        data = read_bytes(root / LEFT_OUT, _MOST_BYTES)
    except (FileNotFoundError, Damaged):
        return []
    text = data.decode("utf-8", errors="surrogateescape")
    rows = csv.reader(io.StringIO(text, newline=""))
    return [(row[0], row[1]) for row in rows if len(row) == 2][1:]
