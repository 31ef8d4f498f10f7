"""Parquet whose groups of rows are large, unpacked once so that each picture can be read alone."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline.data.sources.arrow import ArrowTable
from pipeline.data.sources.columns import Schema
from pipeline.data.sources.extra import needed
from pipeline.data.sources.rows import Table
from pipeline.images.normalised import Unreadable
from pipeline.storage.faults import explained
from pipeline.words import note

_BATCH_BYTES = 8 << 20


class Aside:
    """A folder beside the temporary files of the machine, which is removed when the process ends."""

    def __init__(self, source: str) -> None:
        with explained(Path(tempfile.gettempdir())):
            self.path = Path(tempfile.mkdtemp(prefix="hrgan-"))
        self.files = 0
        weakref.finalize(self, _remove, self.path, os.getpid())
        note(f"{source}: its groups of rows are large; unpacking them into {self.path} (TMPDIR) for this run")

    def place(self) -> Path:
        """A new file in it."""
        self.files += 1
        return self.path / f"{self.files}.arrow"


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked
        shutil.rmtree(path, ignore_errors=True)


class Large(Table, Protocol):
    """A table that can also be read in smaller pieces than its groups."""

    def pieces(self, group: int, name: str, most_bytes: int) -> Iterator[Any]:
        """A column of a group in pieces of about so many bytes, as pyarrow arrays; Unreadable."""
        ...


class UnpackedTable:
    """A table whose pictures were copied, without a change, into an Arrow stream of small groups."""

    def __init__(self, table: Large, image: str, aside: Aside) -> None:
        self.path, self.name, self._table, self._image, self._aside = (
            table.path,
            table.name,
            table,
            image,
            aside,
        )
        self.schema: Schema = table.schema
        path = aside.place()
        with explained(path):
            self.fault = _copied(table, image, path)
        self._copy = ArrowTable(path, table.name)
        self.rows: Sequence[int] = self._copy.rows

    def column(self, group: int, name: str) -> Any:
        assert name == self._image
        return self._copy.column(group, name)

    def cells(self, name: str) -> Iterator[Any]:
        return self._table.cells(name)

    def sizes(self, group: int, image: str) -> list[int]:
        return self._copy.sizes(group, image)


def _copied(table: Large, image: str, path: Path) -> str:
    """Copies the pictures of a table into a stream, in which rows that cannot be read are empty. Returns why
    there are such; "" if there are none."""
    arrow = needed("pyarrow", str(path))
    field = table.schema.field(image)
    fault = ""
    with arrow.OSFile(str(path), "wb") as file, arrow.ipc.new_stream(file, arrow.schema([field])) as writer:
        for group, rows in enumerate(table.rows):
            try:
                for piece in table.pieces(group, image, _BATCH_BYTES):
                    writer.write_batch(arrow.record_batch([piece], schema=arrow.schema([field])))
                    rows -= len(piece)
            except Unreadable as error:
                fault = f"{error}; {rows} rows of group {group} are lost"
                empty = arrow.nulls(rows, field.type)
                writer.write_batch(arrow.record_batch([empty], schema=arrow.schema([field])))
    return fault
