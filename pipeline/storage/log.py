"""The log of a run: one JSON object a line, appended while the run goes on."""

from __future__ import annotations

from typing import Any

from pipeline.errors import Damaged
from pipeline.reading import parse_json

LOG = "log.jsonl"


def log_entry(line: bytes) -> dict[str, Any] | None:
    """The content of a log's line; None for one that a kill has cut short or a stranger has written."""
    try:
        entry = parse_json(line.decode(), LOG)
    except (UnicodeDecodeError, Damaged):
        return None
    known = isinstance(entry, dict) and isinstance(entry.get("images_seen"), int)
    return entry if known else None
