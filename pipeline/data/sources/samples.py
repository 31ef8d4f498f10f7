"""What lies beside the pictures of a tar of WebDataset's shape: classes and captions.

Members of one folder whose names are equal up to the first dot are one sample: KEY.jpg, KEY.cls, KEY.json,
KEY.txt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contracts import Field
from pipeline.data.sources.captions import caption_field
from pipeline.data.sources.label_rows import Words
from pipeline.errors import Damaged, UserError
from pipeline.images.normalised import Unreadable
from pipeline.reading import parse_json

_MOST_BYTES = 1 << 20  # of a member with a class or a caption
_MOST_CLASS_BYTES = 100


@dataclass(frozen=True, slots=True)
class Place:
    """A member of an archive: its name in the listing, and where its bytes are."""

    path: Path
    name: str
    offset: int
    size: int


def key_of(name: str) -> str:
    """What the members of one sample share of their names."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.split('.', 1)[0]}"


def _kind_of(column: str) -> str:
    """The suffix of the members in which a column stands: cls and txt are columns, and so is each key of the
    .json."""
    return column if column in ("cls", "txt") else "json"


class Beside:
    """The members of an archive that hold the asked columns. read: gives a member's bytes, or Unreadable."""

    def __init__(self, label: str | None, caption: str | None, read: Callable[[Place], bytes]) -> None:
        self._label, self._caption, self._read = label, caption, read
        self.has_captions = False
        columns = ("cls", label, caption)
        kinds = {_kind_of(column) for column in columns if column is not None}
        self._places: Mapping[str, dict[str, Place]] = {kind: {} for kind in kinds}

    def take(self, place: Place) -> bool:
        """Keeps a member if it holds a column; False for any other."""
        kept = self._places.get(place.name.rpartition(".")[2])
        if kept is None:
            return False
        kept[key_of(place.name)] = place
        return True

    def alone(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """The members that belong to none of the pictures, and what is wrong with them."""
        keys = set(map(key_of, names))
        return [
            (place.name, "is of a sample without an image")
            for kept in self._places.values()
            for key, place in kept.items()
            if key not in keys
        ]

    def labels(self, names: Sequence[str], title: str) -> tuple[list[str] | None, str | None]:
        """(the class of each picture, None if there are none; why that cannot be told)"""
        column = self._label or "cls"
        if not self._has(column, names):
            return None, None
        cells = []
        for name in names:
            try:
                cells.append(self._cell(column, name))
            except Unreadable as reason:
                return None, f"{title}: {name}: {reason}"
        if column == "cls":
            return cells, None
        try:
            words = Words(cells)
            return [words.word(n, f"{title}: {name}: {column}") for n, name in enumerate(names)], None
        except UserError as fault:
            return None, str(fault)

    def captions(self, names: Sequence[str], title: str) -> tuple[tuple[Field, ...], Mapping[str, str]]:
        """(the field of captions, none if none are asked for or there; what the data set depends on by
        them)"""
        if self._caption is None or not self._has(self._caption, names):
            return (), {}
        digest, longest, said = hashlib.sha256(), None, ""
        for name in names:
            try:
                data = self.caption(name).encode(errors="replace")
            except Unreadable as reason:
                said = said or f"{name}: {reason}"
                continue
            digest.update(len(data).to_bytes(8, "little") + data)
            longest = max(longest or 0, len(data))
        self.has_captions = True
        if longest is None:
            raise UserError(f"{title}: no picture has a caption {self._caption!r} ({said})")
        return (caption_field(longest),), {"captions": digest.hexdigest()[:16]}

    def caption(self, name: str) -> str:
        """The caption of a picture. Errors: Unreadable, if it has none."""
        assert self._caption is not None
        cell = self._cell(self._caption, name)
        if not isinstance(cell, str):
            raise Unreadable(f"its {self._caption} in .json is no text")
        return cell

    def _has(self, column: str, names: Sequence[str]) -> bool:
        """Whether any of the pictures has a member in which the column may stand."""
        kept = self._places[_kind_of(column)]
        return any(key_of(name) in kept for name in names)

    def _cell(self, column: str, name: str) -> Any:
        """What stands in a column for a picture. Errors: Unreadable, which says what is wrong."""
        kind = _kind_of(column)
        place = self._places[kind].get(key_of(name))
        if place is None:
            raise Unreadable(f"has no .{kind} while others have; add it")
        if place.size > _MOST_BYTES:
            raise Unreadable(f"{place.name}: has {place.size} bytes; at most {_MOST_BYTES} are read")
        return _content(self._read(place), column, place.name)


def _content(data: bytes, column: str, name: str) -> Any:
    try:
        text = (data[:_MOST_CLASS_BYTES] if column == "cls" else data).decode().strip()
    except UnicodeDecodeError as error:
        said = "must be a class number or name" if column == "cls" else "is not UTF-8"
        raise Unreadable(f"{name}: {said}") from error
    if column == "cls" and not text:
        raise Unreadable(f"{name}: must be a class number or name")
    return text if column in ("cls", "txt") else _value(text, column, name)


def _value(text: str, key: str, name: str) -> Any:
    try:
        content = parse_json(text, name)
    except Damaged as damage:
        raise Unreadable(str(damage)) from damage
    if not isinstance(content, dict) or key not in content:
        there = ", ".join(map(str, content)) if isinstance(content, dict) else "no keys"
        raise Unreadable(f"{name}: has no {key!r}; there is {there:.200}")
    return content[key]
