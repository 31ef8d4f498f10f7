"""Versions of what is stored: the newest is written, older ones are brought up to it, newer ones refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import Damaged, UserError

Step = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Stored:
    """A format on disk, whose files state their version under `key`.

    version: the one that is written. steps: for each older version, what makes its content that of the next.
    unstated: the version of files that state none; None: they are damaged.
    """

    version: int
    steps: Mapping[int, Step] = field(default_factory=dict)
    unstated: int | None = None
    key: str = "format"

    def stamped(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """`content` with its version, as it is written."""
        return {self.key: self.version, **content}

    def current(self, content: Any, where: str) -> Any:
        """The content of a file, as this version would write it, without the key. What is no object comes
        back as it is, for a schema to refuse.

        Errors: UserError if a newer version wrote it, so that what is whole is not taken for damaged;
        Damaged if there never was such a version. Both name `where`.
        """
        if not isinstance(content, dict):
            return content
        body = dict(content)
        stated = body.pop(self.key, self.unstated)
        if type(stated) is int and stated > self.version:
            raise UserError(
                f"{where}: {self.key} {stated}, of a newer version of hrgan; this one reads {self.key} "
                f"{self.version}: use that version, or another folder"
            )
        if type(stated) is not int or stated not in (*self.steps, self.version):
            raise Damaged(f"{where}: unknown {self.key} (this version reads {self.key} {self.version})")
        for version in range(stated, self.version):
            body = self.steps[version](body)
        return body
