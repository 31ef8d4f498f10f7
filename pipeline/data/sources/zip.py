"""Pictures in a zip archive. Nothing is unpacked to disk, and names that would leave it are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.data.archives.tars import is_tar
from pipeline.data.archives.zips import BadZip, Entry, is_zip, read_directory, read_entry, read_start
from pipeline.data.sources.sorting import Sorter
from pipeline.data.sources.source import (
    MOST_FILE_BYTES,
    FileSource,
    Listing,
    SourceKind,
    is_hidden,
    reading_picture,
    reading_source,
    refuse_escape,
    within_limit,
)
from pipeline.errors import UserError
from pipeline.images.normalised import PLAIN, Unreadable
from pipeline.images.pixels import Reading


class ZipSource(FileSource):
    """All pictures in a zip archive; of members with one name the last one counts, as when unpacking."""

    def __init__(self, path: Path, reading: Reading = PLAIN) -> None:
        super().__init__(path.name, reading)
        self._path = path
        entries: dict[str, Entry] = {}
        skipped: list[tuple[str, str]] = []
        sorter = Sorter()
        try:
            with reading_source(path):
                directory = read_directory(path)
        except BadZip as fault:
            raise UserError(f"{path}: the zip archive {fault}") from fault
        for entry in directory.entries:
            name = entry.name
            refuse_escape(path, name)
            if name.endswith("/") or is_hidden(name) or not sorter.is_picture(name, self._start(entry)):
                continue
            if name in entries:
                skipped.append((name, "name occurs twice; the last one is taken"))
            entries[name] = entry
        if directory.fault:
            skipped.append((path.name, f"the archive {directory.fault}; what comes before is taken"))
        names = list(sorter.pictures(sorted(entries)))
        self._entries = [entries[name] for name in names]
        sizes = [entry.size for entry in self._entries]
        self.listing = Listing(
            names,
            sizes,
            None,
            skipped,
            sorter.others,
            label_file=sorter.label_file(names),
            tables=sorter.tables(names),
        )

    def _bytes(self, number: int) -> bytes:
        try:
            with reading_picture(self._path):
                return within_limit(read_entry(self._path, self._entries[number], MOST_FILE_BYTES))
        except BadZip as fault:
            raise Unreadable(str(fault)) from fault

    def _start(self, entry: Entry) -> Callable[[int], bytes]:
        def read(count: int) -> bytes:
            try:
                with reading_picture(self._path):
                    return read_start(self._path, entry, count)
            except BadZip as fault:
                raise Unreadable(str(fault)) from fault

        return read


def _fits(source: str) -> bool:
    """Told by its content. A tar may end with a zip that it holds, and a zip begin with a program."""
    path = Path(source)
    if not path.is_file():
        return False
    with reading_source(path):
        return not is_tar(path) and is_zip(path)


KIND = SourceKind(".zip", _fits, lambda source, wanted: ZipSource(Path(source), wanted.reading))
