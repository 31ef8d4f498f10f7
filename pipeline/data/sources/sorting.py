"""The files of a source, told apart as they are found: pictures, the label file, and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.images import kinds
from pipeline.images.kinds import START_BYTES, Others
from pipeline.images.normalised import Unreadable

LABEL_FILE = "dataset.json"
"""Labels that a folder or an archive brings along, as stylegan2-ada-pytorch and `hrgan export` write them."""

_MOST_LABEL_BYTES = 2**29


class Sorter:
    """Tells the files of one source apart, and counts those that are no pictures."""

    def __init__(self) -> None:
        self.others = Others()
        self._label_file: tuple[str, bytes] | None = None

    def is_picture(self, name: str, read: Callable[[int], bytes]) -> bool:
        """Whether a file is a picture; any other is counted. read(n): at most its first n bytes."""
        if name.rpartition("/")[2] == LABEL_FILE and self._is_higher(name):
            content = _first_bytes(read, _MOST_LABEL_BYTES + 1)
            if len(content) <= _MOST_LABEL_BYTES:
                self._put_label_file(name, content)
                return False
        start = _first_bytes(read, START_BYTES) if kinds.may_hide_picture(name) else b""
        if kinds.is_picture(name, start):
            return True
        self.others.add(name, start)
        return False

    def label_file(self, names: Sequence[str]) -> tuple[str, bytes] | None:
        """(name, content) of the label file, if it lies above all pictures `names`."""
        if self._label_file is None:
            return None
        folder = self._label_file[0].removesuffix(LABEL_FILE)
        if all(name.startswith(folder) for name in names):
            return self._label_file
        self.others.add(self._label_file[0])
        return None

    def _is_higher(self, name: str) -> bool:
        return self._label_file is None or name.count("/") < self._label_file[0].count("/")

    def _put_label_file(self, name: str, content: bytes) -> None:
        if self._label_file is not None:
            self.others.add(self._label_file[0])
        self._label_file = (name, content)


def _first_bytes(read: Callable[[int], bytes], count: int) -> bytes:
    try:
        return read(count)
    except (Unreadable, OSError):
        return b""
