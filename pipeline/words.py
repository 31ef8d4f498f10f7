"""Counts and names as a person reads them."""

from __future__ import annotations


def counted(count: int, one: str, more: str = "") -> str:
    """Like "1 image" or "2 images"; more: where it is not `one` with an s."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


def printable(name: str) -> str:
    """A file's name as a terminal takes it."""
    return name.encode("utf-8", "backslashreplace").decode()
