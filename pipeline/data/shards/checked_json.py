"""Checked access to JSON that a stranger may have written."""

from __future__ import annotations

from typing import Any, TypeVar

from pipeline.errors import UserError

_T = TypeVar("_T")


class Entries:
    """The entries of a JSON object; errors name the file and the key."""

    def __init__(self, content: Any, where: object, prefix: str) -> None:
        if not isinstance(content, dict):
            raise UserError(f"{where}: {prefix or 'content'}: must be a JSON object")
        self._content, self._where, self._prefix = content, where, prefix

    def take(self, key: str, kind: type[_T], low: int | None = None, high: int | None = None) -> _T:
        value = self._content.get(key)
        # bool is an int to Python, but not to a reader of JSON.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{self._where}: {self._prefix}{key}: must be {kind.__name__}, not {value!r:.40}")
        if low is not None and isinstance(value, int) and value < low:
            raise UserError(f"{self._where}: {self._prefix}{key}: {value}; must be at least {low}")
        if high is not None and isinstance(value, int) and value > high:
            raise UserError(f"{self._where}: {self._prefix}{key}: {value}; must be at most {high}")
        return value
