"""Which form of data set a file or a folder holds: pictures in tables, databases or videos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.data.sources.source import reading_source
from pipeline.errors import UserError
from pipeline.images import kinds
from pipeline.images.kinds import START_BYTES, Form


def holds(path: Path, form: Form) -> bool:
    """Whether a file is of this form, or a folder holds files of it and no pictures: those come first."""
    if path.is_file():
        return kinds.form_of(path.name, _start(path)) is form
    return path.is_dir() and form_of_folder(path) is form


def files_of(root: Path, form: Form, follow_links: bool) -> list[str]:
    """Paths in a folder of all files of one form, sorted. follow_links: of links that lead out of the folder,
    too; UserError if there are no others."""
    files = [path for path in _files(root) if form.is_of(path.name, _start(path))]
    inside = root.resolve()
    kept = [path for path in files if follow_links or path.resolve().is_relative_to(inside)]
    if files and not kept:
        raise UserError(f"{files[0]}: is a link out of the folder; --follow-links follows it")
    return sorted(path.relative_to(root).as_posix() for path in kept)


def form_of_folder(root: Path) -> Form | None:
    """The first form of which a folder without pictures holds files; None if it is a folder of pictures."""
    found: set[str] = set()
    for path in _files(root):
        start = _start(path) if kinds.may_hide_picture(path.name) else b""
        if kinds.is_picture(path.name, start):
            return None
        form = kinds.form_of(path.name, start)
        if form in kinds.SET_FORMS:
            found.add(form.name)
    return next((form for form in kinds.SET_FORMS if form.name in found), None)


def _files(root: Path) -> Iterator[Path]:
    """The files in a folder and the folders below it, without hidden ones."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _start(path: Path) -> bytes:
    with reading_source(path), path.open("rb") as file:
        return file.read(START_BYTES)
