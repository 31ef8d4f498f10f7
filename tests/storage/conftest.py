"""A clock of files that stands still."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def file_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only item, that files get which `Path.write_text` writes."""
    clock, write = [1_000_000.0], Path.write_text

    def written(path: Path, *arguments: Any, **options: Any) -> int:
        count = write(path, *arguments, **options)
        os.utime(path, (clock[0], clock[0]))
        return count

    monkeypatch.setattr(Path, "write_text", written)
    return clock
