"""Folders named by a position of a run, in images seen."""

from __future__ import annotations

from pathlib import Path


def numbered(parent: Path, images_seen: int) -> Path:
    """The folder for a position; zero-padded, so that names sort by it."""
    return parent / f"{images_seen:012d}"


def numbered_folders(parent: Path) -> list[Path]:
    """All position folders in `parent`, oldest first."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.name.isdigit() and path.is_dir())
