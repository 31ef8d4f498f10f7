"""Positions of a run, in images seen, and folders named by them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    return sorted(path for path in parent.iterdir() if path.name.isdigit() and path.is_dir())
