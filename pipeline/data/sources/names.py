"""Names of pictures in order, on disk where there are more of them than memory should hold."""

from __future__ import annotations

import heapq
import os
import tempfile
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, TypeVar, overload

IN_MEMORY = 100_000
"""As many names as are held in memory."""

_END = b"\0"  # which no name has
_READ_BYTES = 1 << 16
_ENTRIES = 4096  # that are read at a time
_BYTES, _ENDS = "names", "ends"
_T = TypeVar("_T")


class _OnDisk(Sequence[_T]):
    """Entries that are read when they are looked at, also by processes that are forked, since the file's own
    position is not used. If they were mapped into memory, those that were read would count as memory."""

    @overload
    def __getitem__(self, number: int) -> _T: ...
    @overload
    def __getitem__(self, number: slice) -> list[_T]: ...
    def __getitem__(self, number: int | slice) -> _T | list[_T]:
        if isinstance(number, slice):
            start, stop, step = number.indices(len(self))
            return self._read(start, stop) if step == 1 else [self[n] for n in range(start, stop, step)]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        place = number % len(self)
        return self._read(place, place + 1)[0]

    def __iter__(self) -> Iterator[_T]:
        for start in range(0, len(self), _ENTRIES):
            yield from self._read(start, min(start + _ENTRIES, len(self)))

    @abstractmethod
    def _read(self, start: int, stop: int) -> list[_T]:
        """The entries from `start` on, up to but without `stop`."""


def _opened(owner: object, path: Path) -> int:
    """The descriptor of a file, which is closed when its owner goes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    weakref.finalize(owner, os.close, descriptor)
    return descriptor


class NumberTable(_OnDisk[int]):
    """Numbers in a file, of 8 bytes each."""

    def __init__(self, path: Path) -> None:
        self._file = _opened(self, path)
        self._count = os.fstat(self._file).st_size // 8

    def __len__(self) -> int:
        return self._count

    def _read(self, start: int, stop: int) -> list[int]:
        return array("q", os.pread(self._file, max(stop - start, 0) * 8, start * 8)).tolist()


class NameTable(_OnDisk[str]):
    """Names in a folder: the bytes of all in one file, and in another where each ends."""

    def __init__(self, folder: Path) -> None:
        self._ends = NumberTable(folder / _ENDS)
        self._file = _opened(self, folder / _BYTES)

    def __len__(self) -> int:
        return len(self._ends)

    def _read(self, start: int, stop: int) -> list[str]:
        ends = self._ends[max(start - 1, 0) : stop]
        first = ends.pop(0) if start and ends else 0
        if not ends:
            return []
        data = os.pread(self._file, ends[-1] - first, first)
        return [
            data[a - first : b - first].decode("utf-8", "surrogatepass")
            for a, b in zip(chain((first,), ends), ends, strict=False)
        ]


class SortedNames:
    """Takes names one by one and gives them in order."""

    def __init__(self) -> None:
        self._names, self._runs = list[str](), list[IO[bytes]]()
        self.count = 0

    def add(self, name: str) -> None:
        """Takes a name."""
        self._names.append(name)
        self.count += 1
        if len(self._names) == IN_MEMORY:
            self._spill()

    def into(self, folder: Path) -> Sequence[str]:
        """All names in order: a list if there are few, otherwise a table in `folder`, which must exist."""
        if not self._runs:
            return sorted(self._names)
        self._spill()
        _write(folder, heapq.merge(*map(_read_run, self._runs)))
        for run in self._runs:
            run.close()
        return NameTable(folder)

    def _spill(self) -> None:
        run = tempfile.TemporaryFile()  # noqa: SIM115  (closed when it has been merged)
        for name in sorted(self._names):
            run.write(_raw(name) + _END)
        self._names.clear()
        self._runs.append(run)


def write_names(folder: Path, names: Iterable[str]) -> None:
    """Writes names, in their order, for a `NameTable` of the folder, which must exist."""
    _write(folder, map(_raw, names))


def write_numbers(path: Path, numbers: Iterable[int]) -> NumberTable:
    """Writes numbers to a file, for a `NumberTable`."""
    coming = iter(numbers)
    with path.open("wb") as file:
        while part := array("q", islice(coming, _ENTRIES)):
            part.tofile(file)
    return NumberTable(path)


def _write(folder: Path, names: Iterable[bytes]) -> None:
    with (folder / _BYTES).open("wb") as file:
        write_numbers(folder / _ENDS, _ends(file, names))


def _ends(file: IO[bytes], names: Iterable[bytes]) -> Iterator[int]:
    """Writes names, and tells where each ends."""
    at = 0
    for name in names:
        file.write(name)
        at += len(name)
        yield at


def _read_run(run: IO[bytes]) -> Iterator[bytes]:
    run.seek(0)
    rest = b""
    while part := run.read(_READ_BYTES):
        *names, rest = (rest + part).split(_END)
        yield from names


def _raw(name: str) -> bytes:
    # Their bytes have the order of the names themselves, also where a name is no UTF-8.
    return name.encode("utf-8", "surrogatepass")
