"""Positions of a run, in images seen, and folders named by them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Position:
    """Where a run stands when something of it is saved, and which run it is."""

    images_seen: int
    step: int
    world_size: int
    config_digest: str


def numbered(parent: Path, images_seen: int) -> Path:
    """The folder for a position; zero-padded, so that names sort by it."""
    return parent / f"{images_seen:012d}"


def numbered_folders(parent: Path) -> list[Path]:
    """All position folders in `parent`, oldest first."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if is_position(path.name) and path.is_dir())


def is_position(name: str) -> bool:
    """Whether a file or folder of this name, without its suffix, is of a position."""
    return _NUMBER.fullmatch(name) is not None
