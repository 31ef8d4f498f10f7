"""Names of pictures that have none of their own, as the rows of a table: FILE/000012."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from os.path import splitext
from typing import overload


class Numbered(Sequence[str]):
    """The names of `counts[f]` pictures of each file `files[f]`, made as they are asked for."""

    def __init__(self, files: Sequence[str], counts: Sequence[int]) -> None:
        self._files, self._ends = files, [0, *accumulate(counts)]

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if number < 0:
            number += len(self)
        file, row = self.place(number)
        return f"{self._files[file]}/{row:06d}"

    def place(self, number: int) -> tuple[int, int]:
        """(file, row in it) of picture `number`. IndexError if there is none."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        file = bisect_right(self._ends, number) - 1
        return file, number - self._ends[file]


def stems(files: Sequence[str]) -> list[str]:
    """The names of files without their suffixes, or with them if they differ in nothing else."""
    short = [splitext(file)[0] for file in files]
    return short if len(set(short)) == len(files) else list(files)
