"""Pictures in Parquet files, as Hugging Face's hub has them and as others write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.data.sources.columns import chosen_columns
from pipeline.data.sources.extra import needed
from pipeline.data.sources.holding import files_of, holds
from pipeline.data.sources.rows import Table, first_line, rows_source
from pipeline.data.sources.source import Source, SourceKind, Wanted, reading_picture, reading_source
from pipeline.data.sources.splits import one_split, parted
from pipeline.data.sources.unpacked import Aside, UnpackedTable
from pipeline.errors import UserError
from pipeline.images.kinds import PARQUET
from pipeline.images.normalised import Unreadable

_MOST_GROUP_BYTES = 64 << 20
"""Of a larger group of rows too much would have to be decoded for each picture that is read."""


class ParquetTable:
    """A Parquet file, of which only the footer is held; its groups are Parquet's row groups."""

    fault = ""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        try:
            with reading_source(path), opened(path) as file:
                self.schema, metadata = file.schema_arrow, file.metadata
        except Unreadable as error:
            raise UserError(f"{path}: is no whole Parquet file ({error})") from error
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        self.rows: Sequence[int] = [group.num_rows for group in groups]
        self._sizes = [_bytes_by_column(group) for group in groups]

    def column(self, group: int, name: str) -> Any:
        with reading_picture(self.path), opened(self.path) as file:
            # Threads of a pool do not live on in the processes that are forked.
            return file.read_row_group(group, columns=[name], use_threads=False).column(0)

    def cells(self, name: str) -> Iterator[Any]:
        for group in range(len(self.rows)):
            yield from self.column(group, name).to_pylist()

    def sizes(self, group: int, image: str) -> list[int]:
        return [self._sizes[group].get(image, (0, 0))[0]] * self.rows[group]

    def pieces(self, group: int, name: str, most_bytes: int) -> Iterator[Any]:
        """A column of a group in pieces of about so many bytes; Unreadable."""
        rows = max(1, self.rows[group] * most_bytes // max(1, self._sizes[group][name][1]))
        with reading_picture(self.path), opened(self.path) as file:
            for batch in file.iter_batches(rows, [group], [name], use_threads=False):
                yield batch.column(0)

    def largest(self, name: str) -> int:
        """Bytes of a column in the group where it has most, decoded."""
        return max((sizes.get(name, (0, 0))[1] for sizes in self._sizes), default=0)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile; Unreadable if it is none, or if anything read of it is damaged."""
    arrow, parquet = needed("pyarrow", str(path)), needed("pyarrow.parquet", str(path))
    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            yield file
    except arrow.ArrowException as error:
        raise Unreadable(first_line(error)) from error


def _bytes_by_column(group: Any) -> dict[str, tuple[int, int]]:
    """(bytes in the file, bytes decoded) of each column of a row group."""
    sizes: dict[str, tuple[int, int]] = {}
    for number in range(group.num_columns):
        column = group.column(number)
        name = column.path_in_schema.split(".")[0]
        stored, decoded = sizes.get(name, (0, 0))
        sizes[name] = stored + column.total_compressed_size, decoded + column.total_uncompressed_size
    return sizes


def parquet_source(root: Path, names: Sequence[str], wanted: Wanted, title: str, source: str) -> Source:
    """The pictures in the Parquet files `names` of the folder `root`. title: as in `Source`. source: what the
    user gave, for errors."""
    whole = [ParquetTable(root / name, name) for name in names]
    columns = chosen_columns(whole[0].schema, wanted, source)
    large = [table for table in whole if table.largest(columns.image) > _MOST_GROUP_BYTES]
    aside = Aside(source) if large else None
    tables: list[Table] = [
        UnpackedTable(table, columns.image, aside) if aside and table in large else table for table in whole
    ]
    return rows_source(root, tables, columns, wanted, title)


def _open(source: str, wanted: Wanted) -> Source:
    path, split = parted(source)
    if path.is_file():
        names = one_split([path.name], split, str(path)) if split else [path.name]
        return parquet_source(path.parent, names, wanted, path.name, source)
    names = one_split(files_of(path, PARQUET, wanted.follow_links), split, str(path))
    title = path.resolve().name + (f":{split}" if split else "")
    return parquet_source(path, names, wanted, title, source)


KIND = SourceKind("Parquet", lambda source: holds(parted(source)[0], PARQUET), _open)
