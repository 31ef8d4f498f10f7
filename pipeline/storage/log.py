"""A run's log: a JSON object a line, appended as the run goes on."""

from __future__ import annotations

from typing import Any

from pipeline.errors import Damaged
from pipeline.reading import parse_json

LOG = "log.jsonl"


def log_entry(line: bytes) -> dict[str, Any] | None:
    """What a line of the log says; None of one that a kill has cut short or a stranger has written."""
    try:
        entry = parse_json(line.decode(), LOG)
    except (UnicodeDecodeError, Damaged):
        return None
    known = isinstance(entry, dict) and isinstance(entry.get("images_seen"), int)
    return entry if known else None
