"""Shards that other programs have written: a folder of tar archives, or a pattern of their names."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.data.archives.patterns import is_pattern, matching_files
from pipeline.data.sources.source import SourceKind, Wanted, reading_source
from pipeline.data.sources.tar import TarSource
from pipeline.images import kinds


def _fits(source: str) -> bool:
    """A pattern, or a folder of archives that holds neither pictures nor folders."""
    if source.startswith("demo:") or "://" in source:
        return False
    path = Path(source)
    if is_pattern(source):
        return True
    if not path.is_dir():
        return False
    with reading_source(path), os.scandir(path) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        return any(_is_archive(entry) for entry in shown) and not any(
            entry.is_dir() or kinds.suffix_of(entry.name) in kinds.SUFFIXES for entry in shown
        )


def _is_archive(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(".tar") and entry.is_file()


def _open(source: str, wanted: Wanted) -> TarSource:
    paths = matching_files(source) if is_pattern(source) else _in_folder(Path(source))
    top = os.path.commonpath([path.parent for path in paths])
    title = Path(source).name if is_pattern(source) else Path(source).resolve().name
    return TarSource({f"{path.relative_to(top).as_posix()}/": path for path in paths}, title, wanted)


def _in_folder(folder: Path) -> list[Path]:
    with reading_source(folder), os.scandir(folder) as entries:
        return sorted(
            Path(entry.path) for entry in entries if not entry.name.startswith(".") and _is_archive(entry)
        )


KIND = SourceKind("tars of other programs", _fits, _open)
