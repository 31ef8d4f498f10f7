"""Reads small files that a crash or a stranger may have damaged: within bounds, or with an error of one line.

In a folder that others can write to, any name may be a pipe on which a read never ends, a file of a gigabyte,
brackets nested a hundred thousand deep, or text with control sequences for a terminal. The caller decides
what to do about a damaged file.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import Damaged

MOST_BYTES = 16 << 20
"""The largest file that is read unless the caller allows more, in bytes."""

LONGEST_LINE = 1 << 20
"""The longest line that is read in one piece, in bytes."""

_DEEPEST = 64
_MOST_DIGITS = 20  # the digits of 2^64
_MARKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_T = TypeVar("_T")


def open_file(path: Path) -> BinaryIO:
    """Opens an ordinary file for reading.

    Raises FileNotFoundError if there is nothing, and Damaged if what is there cannot be read.
    """
    try:
        # Opening a pipe that has no writer would otherwise block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise Damaged(f"{path}: is {_KINDS.get(kind, 'something')} where a file should be")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Returns the content of a file. Raises as `open_file`, and Damaged if it exceeds `most` bytes."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = file.read(most + 1) if size <= most else b""
        except OSError as error:
            raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
    if size > most or len(data) > most:
        raise Damaged(f"{path}: has {max(size, len(data))} bytes; at most {most} are read")
    return data


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Returns the text of a UTF-8 file, with or without a byte order mark. Raises as `read_bytes`."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Damaged(f"{path}: not text in UTF-8") from error


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """Returns the content of a JSON file. Raises as `read_bytes` and `parse_json`."""
    return parse_json(read_text(path, most), str(path))


def parse_json(text: str, where: str) -> Any:
    """Parses JSON that is nested at most 64 deep and has integers of at most 20 digits.

    NaN and Infinity are accepted, since a loss may be either. Of equal keys the last counts.
    where: the name of the text in errors. Raises Damaged.
    """
    if _is_deep(text):
        raise Damaged(f"{where}: nested deeper than {_DEEPEST}")
    try:
        return json.loads(text, parse_int=_whole)
    except ValueError as error:
        raise Damaged(f"{where}: not valid JSON: {error}") from error


def _is_deep(text: str) -> bool:
    # Checked before parsing, because the parser is recursive and the stack bounds its depth.
    if text.count("[") + text.count("{") <= _DEEPEST:
        return False
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += (mark[0] in "[{") - (mark[0] in "]}")
        if depth > _DEEPEST:
            return True
    return False


def _whole(digits: str) -> int:
    # Much larger ones fit no float, and Python refuses to print an integer of more than 4,300 digits.
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def read_as(schema: type[_T], path: Path, most: int = MOST_BYTES) -> _T:
    """Returns the content of a JSON file as a dataclass. Raises as `read_json` and `checked`."""
    return checked(schema, read_json(path, most), str(path))


def checked(schema: type[_T], value: object, where: str) -> _T:
    """Returns a plain value as a dataclass or another type that pydantic knows.

    where: the name of the value in errors. Raises Damaged if a key is missing, unknown or of the wrong type.
    """
    if is_dataclass(schema) and isinstance(value, Mapping):
        unknown = sorted(map(str, value.keys() - {field.name for field in fields(schema)}))
        if unknown:
            raise Damaged(f"{where}: {unknown[0]:.80}: unknown key")
    try:
        typed: _T = _adapter(schema).validate_python(value)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = first["msg"].replace("Input should be", "must be")
        said = "must be an object" if first["type"] == "dataclass_type" else said
        key = ".".join(map(str, first["loc"]))
        raise Damaged(f"{where}: {f'{key:.80}: ' if key else ''}{said[:1].lower()}{said[1:]}") from error
    return typed


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def read_lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a file without their line ends; a line longer than LONGEST_LINE comes in pieces.

    Raises as `open_file`.
    """
    with open_file(path) as file:
        while line := file.readline(LONGEST_LINE):
            yield line.removesuffix(b"\n")


def shown(text: str) -> str:
    """Returns the text in one line that is safe to print on a terminal, unprintable characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
