"""The files of a source, told apart as they are found: pictures, the tables of labels, and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.data.sources.layouts import mask_folders
from pipeline.images import kinds
from pipeline.images.kinds import START_BYTES, Others
from pipeline.images.normalised import Unreadable

LABEL_FILE = "dataset.json"
"""Labels that a folder or an archive brings along, as stylegan2-ada-pytorch and `hrgan export` write them."""

METADATA = ("metadata.jsonl", "metadata.csv")
"""Tables that Hugging Face's image folders bring along."""

ATTRIBUTES = (
    "list_attr_celeba.txt",
    "list_attr_celeba.csv",
    "CelebAMask-HQ-attribute-anno.txt",
)
"""Tables that CelebA and CelebAMask-HQ bring along, wherever they lie."""

TABLES = (LABEL_FILE, *METADATA, *ATTRIBUTES)

_MOST_LABEL_BYTES = 2**29


class Sorter:
    """Tells the files of one source apart, and counts those that are no pictures."""

    def __init__(self) -> None:
        self.others = Others()
        self._tables: dict[str, tuple[str, bytes]] = {}

    def is_picture(self, name: str, read: Callable[[int], bytes]) -> bool:
        """Whether a file is a picture; any other is counted. read(n): at most its first n bytes."""
        file = name.rpartition("/")[2]
        if file in TABLES and self._is_higher(file, name):
            content = _first_bytes(read, _MOST_LABEL_BYTES + 1)
            if len(content) <= _MOST_LABEL_BYTES:
                self._put_table(file, name, content)
                return False
        start = _first_bytes(read, START_BYTES) if kinds.may_hide_picture(name) else b""
        if kinds.is_picture(name, start):
            return True
        self.others.add(name, start)
        return False

    def pictures(self, names: Sequence[str]) -> Iterable[str]:
        """The names without masks that lie in folders beside the pictures, which are counted as they are
        passed over; `names` itself if there are none."""
        folders = tuple(mask_folders(names))
        return self._unmasked(names, folders) if folders else names

    def _unmasked(self, names: Sequence[str], folders: tuple[str, ...]) -> Iterator[str]:
        for name in names:
            if name.startswith(folders):
                self.others.add(name)
            else:
                yield name

    def label_file(self, names: Sequence[str]) -> tuple[str, bytes] | None:
        """(name, content) of the label file, if it lies above all pictures `names`."""
        return self._above(LABEL_FILE, names)

    def tables(self, names: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
        """(name, content) of each other table that may speak of the pictures `names`: metadata lie above all
        of them, attributes anywhere."""
        metadata = [self._above(file, names) for file in METADATA]
        return tuple(table for table in (*metadata, *map(self._tables.get, ATTRIBUTES)) if table is not None)

    def _above(self, file: str, names: Sequence[str]) -> tuple[str, bytes] | None:
        table = self._tables.get(file)
        if table is None:
            return None
        folder = table[0].removesuffix(file)
        if all(name.startswith(folder) for name in names):
            return table
        self.others.add(table[0])
        return None

    def _is_higher(self, file: str, name: str) -> bool:
        known = self._tables.get(file)
        return known is None or name.count("/") < known[0].count("/")

    def _put_table(self, file: str, name: str, content: bytes) -> None:
        if file in self._tables:
            self.others.add(self._tables[file][0])
        self._tables[file] = (name, content)


def _first_bytes(read: Callable[[int], bytes], count: int) -> bytes:
    try:
        return read(count)
    except (Unreadable, OSError):
        return b""
