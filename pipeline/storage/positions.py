"""Positions of a run, in images seen, and folders named by them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Position:
    """Where a run stood when something of it was saved, and which run it is."""

    images_seen: int
    step: int
    world_size: int
    config_digest: str


def numbered(parent: Path, images_seen: int) -> Path:
    """The folder of a position. Its name is padded with zeros, so that names sort as positions do."""
    return parent / f"{images_seen:012d}"


def numbered_folders(parent: Path) -> list[Path]:
    """The folders of all positions in `parent`, oldest first."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if is_position(path.name) and path.is_dir())


def is_position(name: str) -> bool:
    """Whether the name of a file or folder, without its suffix, is that of a position."""
    return _NUMBER.fullmatch(name) is not None
