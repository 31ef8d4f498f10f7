"""Pictures in Arrow files, as Hugging Face's `datasets` saves and caches them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.data.sources.columns import chosen_columns
from pipeline.data.sources.extra import needed
from pipeline.data.sources.holding import files_of, holds
from pipeline.data.sources.rows import first_line, rows_source
from pipeline.data.sources.source import Source, SourceKind, Wanted, reading_picture, reading_source
from pipeline.data.sources.splits import chosen_split, one_split, parted
from pipeline.errors import Damaged, UserError
from pipeline.images.kinds import ARROW
from pipeline.images.normalised import Unreadable
from pipeline.reading import read_json

_FILE_START = b"ARROW1"


class ArrowTable:
    """An Arrow stream or file, mapped into memory; its groups are Arrow's record batches, of which only the
    places are held. What comes before the end of a stream that was cut off is taken."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name, self.fault = path, name, ""
        self._places: list[int] = []
        arrow = needed("pyarrow", str(path))
        try:
            with reading_source(path), _mapped(path) as file:
                self._is_stream = file.read(len(_FILE_START)) != _FILE_START
                file.seek(0)
                self.schema, self.rows = self._list(file) if self._is_stream else _list(file)
        except (EOFError, Unreadable, arrow.ArrowException) as error:
            raise UserError(f"{path}: is no whole Arrow file ({first_line(error)})") from error

    def column(self, group: int, name: str) -> Any:
        with reading_picture(self.path), _mapped(self.path) as file:
            column = self._batch(file, group).column(name)
            column.validate(
                full=True
            )  # offsets that lead out of their buffer would crash whoever follows them
        return column

    def cells(self, name: str) -> Iterator[Any]:
        for group in range(len(self.rows)):
            yield from self.column(group, name).to_pylist()

    def sizes(self, group: int, image: str) -> list[int]:
        arrow, compute = needed("pyarrow", str(self.path)), needed("pyarrow.compute", str(self.path))
        column = self.column(group, image)
        data = column.field("bytes") if arrow.types.is_struct(column.type) else column
        return [size or 0 for size in compute.binary_length(data).to_pylist()]

    def _list(self, file: Any) -> tuple[Any, Sequence[int]]:
        """(schema, rows of each batch) of a stream; notes where the batches lie."""
        arrow = needed("pyarrow", str(self.path))
        ipc = arrow.ipc
        schema, rows = ipc.read_schema(ipc.read_message(file)), []
        try:
            while True:
                place = file.tell()
                message = ipc.read_message(file)
                if message.type != "record batch":
                    raise UserError(
                        f"{self.path}: has columns encoded by dictionaries, which a stream cannot be "
                        "read with; write it as Parquet"
                    )
                rows.append(ipc.read_record_batch(message, schema).num_rows)
                self._places.append(place)
        except EOFError:
            pass  # as a stream ends
        except (OSError, arrow.ArrowException) as error:
            self.fault = f"{first_line(error)}; what comes before is taken"
        return schema, rows

    def _batch(self, file: Any, group: int) -> Any:
        ipc = needed("pyarrow", str(self.path)).ipc
        if not self._is_stream:
            return ipc.open_file(file).get_batch(group)
        file.seek(self._places[group])
        return ipc.read_record_batch(ipc.read_message(file), self.schema)


def _list(file: Any) -> tuple[Any, Sequence[int]]:
    """(schema, rows of each batch) of a file that has a footer."""
    reader = needed("pyarrow", "Arrow").ipc.open_file(file)
    return reader.schema, [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    arrow = needed("pyarrow", str(path))
    try:
        with arrow.memory_map(str(path)) as file:
            yield file
    except arrow.ArrowException as error:
        raise Unreadable(first_line(error)) from error


def arrow_source(path: Path, files: Sequence[str], split: str | None, wanted: Wanted, source: str) -> Source:
    """The pictures of a folder of Arrow files, as `datasets` saves or caches them. files: those in it, which
    count if none are written down. source: what the user gave, without the split, for errors."""
    title = path.resolve().name + (f":{split}" if split else "")
    if (path / "dataset_dict.json").is_file():
        splits = _strings(path / "dataset_dict.json", "splits")
        path, split = path / chosen_split(splits, split, source), None
    names = _saved(path) or one_split(files, split, source)
    return _of_files(path, names, wanted, title, source)


def _of_files(root: Path, names: Sequence[str], wanted: Wanted, title: str, source: str) -> Source:
    tables = [ArrowTable(root / name, name) for name in names]
    return rows_source(root, tables, chosen_columns(tables[0].schema, wanted, source), wanted, title)


def _open(source: str, wanted: Wanted) -> Source:
    path, split = parted(source)
    if path.is_file():
        return _of_files(path.parent, [path.name], wanted, path.name, source)
    return arrow_source(path, files_of(path, ARROW, wanted.follow_links), split, wanted, str(path))


def _saved(path: Path) -> list[str]:
    """The files of a set in their order, as `save_to_disk` has written it down; none if it has not."""
    state = path / "state.json"
    if not state.is_file():
        return []
    return _strings(state, "_data_files", "filename")


def _strings(path: Path, key: str, inner: str | None = None) -> list[str]:
    """A list of names in a JSON file, each that of something beside it. UserError if there is none such."""
    try:
        entries = read_json(path)[key]
        names = [entry[inner] if inner else entry for entry in entries]
    except Damaged as error:
        raise UserError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: has no list {key!r}; a set that `datasets` saved has one") from error
    for name in names:
        if not isinstance(name, str) or name != Path(name).name or not (path.parent / name).exists():
            raise UserError(f"{path}: {key}: {name!r:.80}: no such name in {path.parent}")
    return names


KIND = SourceKind("Arrow", lambda source: holds(parted(source)[0], ARROW), _open)
