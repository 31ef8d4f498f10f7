"""Which picture a name in a label file means."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import UserError

_NUMBER = re.compile(r"(\d{1,18})(?:\.[^./]*)?$")


def in_number_order(names: Sequence[str]) -> bool:
    """Whether the names end in numbers that follow one another without a gap."""
    matches = [_NUMBER.search(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    return len(numbers) == len(names) > 0 and numbers == [*range(numbers[0], numbers[0] + len(names))]


class Pictures:
    """Finds pictures by the names that label files give them: a part of a path from its end, with or without
    folders or suffix, in any Unicode normal form."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._exact = {_normal(name): number for number, name in enumerate(names)}
        self._by_file: Mapping[str, list[int]] | None = None

    def has(self, label: str) -> bool:
        """Whether a name is one of the pictures' own."""
        return _normal(label) in self._exact

    def find(self, label: str) -> list[int]:
        """The numbers of all pictures that a name may mean."""
        path = _normal(label)
        if path in self._exact:
            return [self._exact[path]]
        if self._by_file is None:
            self._by_file = self._files()
        parts = path.split("/")
        return [
            number
            for number in self._by_file.get(parts[-1], ())
            if _ends_alike(parts[:-1], _normal(self._names[number]).split("/")[:-1])
        ]

    def one(self, label: Any, where: str) -> int | None:
        """The number of the one picture that a name means; None if there is none. UserError if there are
        several."""
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise UserError(f"{where}: {label!r:.60}: must be a picture's name")
        numbers = self.find(str(label))
        if len(numbers) > 1:
            raise UserError(
                f"{where}: {label} may be {self._names[numbers[0]]} or {self._names[numbers[1]]}; "
                "write it with its folder and suffix"
            )
        return numbers[0] if numbers else None

    def _files(self) -> Mapping[str, list[int]]:
        by_file: dict[str, list[int]] = defaultdict(list)
        for path, number in self._exact.items():
            file = path.rpartition("/")[2]
            for called in {file, file.rpartition(".")[0] or file}:
                by_file[called].append(number)
        return by_file


def _ends_alike(a: list[str], b: list[str]) -> bool:
    shared = min(len(a), len(b))
    return shared == 0 or a[-shared:] == b[-shared:]


def _normal(name: str) -> str:
    parts = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))
