"""Publishing to disk: written aside, fsynced, renamed, so that a reader sees all of it or nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError

_PERSON_CAN_MEND = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EFBIG: "the file would be larger than allowed here",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an OSError that a person can mend into one line that names `path`."""
    try:
        yield
    except OSError as error:
        reason = _PERSON_CAN_MEND.get(error.errno or 0)
        if reason is None:
            raise
        raise UserError(f"{path}: cannot write: {reason}; what was there before is untouched") from error


def fsync_file(path: Path) -> None:
    """Makes a file's content durable."""
    _fsync(path)


def fsync_folder(path: Path) -> None:
    """Makes renames and new names inside `path` durable."""
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aside(path: Path) -> Path:
    # One fixed name a target: what a killed writer left is overwritten by the next, never collected.
    return path.with_name(f".{path.name}.partial")


@contextmanager
def publish_file(path: Path) -> Iterator[Path]:
    """Yields the path to write; on success fsyncs it and renames it to `path`, on error removes it."""
    aside = _aside(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            _fsync(aside)
            os.replace(aside, path)
            fsync_folder(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def publish_bytes(path: Path, data: bytes) -> None:
    """Writes `data` as the whole of `path`."""
    with publish_file(path) as aside:
        aside.write_bytes(data)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; on success fsyncs all of it and renames it to `path`.

    An existing `path` is set aside until the new one stands, then removed.
    """
    aside = _aside(path)
    with explained(path):
        remove_folder(aside)
        aside.mkdir(parents=True)
        try:
            yield aside
            _fsync_tree(aside)
        except BaseException:
            remove_folder(aside)
            raise
        replace_folder(aside, path)


def replace_folder(aside: Path, path: Path) -> None:
    """Renames the finished `aside` to `path`; one that was there is removed once the new one stands."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        remove_folder(old)
        os.rename(path, old)
    os.rename(aside, path)
    fsync_folder(path.parent)
    remove_folder(old)


def _fsync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _fsync(Path(parent, name))
        _fsync(Path(parent))


def remove_folder(path: Path) -> None:
    """Removes a folder and all in it; one that is not there is fine."""
    if path.exists():
        shutil.rmtree(path)
