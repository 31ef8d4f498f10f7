"""Publishing to disk: written aside, fsynced and renamed, so that a reader sees all of it or nothing.

The order matters. A rename may reach the disk before the bytes that it names, so the file (and each folder in
it) is fsynced first: otherwise a power loss leaves a finished name with nothing in it. The rename itself is
durable only once the folder is fsynced: otherwise what was reported as saved is gone, or a successor that is
gone has already had its predecessor deleted.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from pipeline.storage.faults import explained
from pipeline.storage.owners import is_gone, place

_ABANDONED_SECONDS = 600.0  # without a change, of what a writer on another machine has aside

_ANYBODYS = re.compile(r"\..+\.(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-\d+\.partial")


def fsync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    _fsync(path)


def fsync_folder(path: Path) -> None:
    """Makes the names in the folder `path` durable: what was made, renamed or removed in it."""
    _fsync(path)


def make_folder(path: Path) -> None:
    """Makes `path` and the folders above it that are missing, and their names durable: files in a folder
    whose name a power loss takes away are lost with it."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(exist_ok=True)  # another process may be making it
    fsync_folder(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def aside_of(path: Path) -> Path:
    """A name beside `path` that only this thread writes to. It tells `sweep_folder` whose it is."""
    return _aside(path)


def _aside(path: Path, kind: str = "partial") -> Path:
    # Each process and thread, on any machine that sees the folder, has a name of its own: several may publish
    # one path at once, and with a shared name one would rename what the other is still writing.
    return path.with_name(f".{path.name}.{_here()}-{os.getpid()}-{threading.get_native_id()}.{kind}")


@cache
def _here() -> str:
    return hashlib.sha256(place().encode()).hexdigest()[:8]


def is_aside(name: str, of: str) -> bool:
    """Whether `name` is what a writer of `of` in the same folder keeps aside, or left there when killed."""
    return _owner(name, of, "partial") is not None


def _owner(name: str, of: str, kind: str) -> re.Match[str] | None:
    """Groups `place` and `pid`: None in what older versions left."""
    owner = r"(?:\.(?P<place>[0-9a-f]{8})-(?P<pid>\d+)-\d+)?"
    return re.fullmatch(rf"\.{re.escape(of)}{owner}\.{kind}", name)


def _sweep(path: Path, kind: str = "partial") -> None:
    """Removes what killed writers of `path` have left: at once if they ran on this machine, otherwise when it
    has not changed for long, since the number of a process means nothing elsewhere."""
    for name in os.listdir(path.parent):
        owner = _owner(name, path.name, kind)
        if owner is None:
            continue
        _remove_left(path.with_name(name), owner)


def sweep_folder(folder: Path) -> None:
    """Removes what processes that are gone have left aside in `folder`, whatever they meant to publish."""
    with suppress(OSError):  # not there, or not ours to read
        for name in os.listdir(folder):
            owner = _ANYBODYS.fullmatch(name)
            if owner is not None:
                _remove_left(folder / name, owner)


def _remove_left(path: Path, owner: re.Match[str]) -> None:
    with suppress(OSError):  # another process sweeps too, or another user owns it: it does no harm
        if owner["place"] == _here():
            left = is_gone(int(owner["pid"]))
        else:
            left = time.time() - _last_change(path) > _ABANDONED_SECONDS
        if left:
            remove(path)


def _last_change(path: Path) -> float:
    inside = path.iterdir() if path.is_dir() else ()
    times: list[float] = [one.stat().st_mtime for one in (path, *inside)]
    return max(times)


@contextmanager
def publish_file(path: Path, aside_as: str | None = None) -> Iterator[Path]:
    """Yields the path to write to; on success fsyncs it and renames it to `path`, on error removes it.

    Several processes may publish `path` at once: it is then one's or another's, and whole. aside_as: derive
    the name of the file aside from this one, where readers would take one like `path` for finished.
    """
    target = path if aside_as is None else path.with_name(aside_as)
    aside = _aside(target)
    with explained(path):
        make_folder(path.parent)
        _sweep(target)
        try:
            yield aside
            _fsync(aside)
            os.replace(aside, path)
            fsync_folder(path.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def publish_bytes(path: Path, data: bytes, aside_as: str | None = None) -> None:
    """Publishes `data` as the whole content of `path`. aside_as: as in `publish_file`."""
    with publish_file(path, aside_as) as aside:
        aside.write_bytes(data)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; on success fsyncs all that is in it and renames it to `path`.

    A folder that stands at `path` is set aside until the new one is durable, and only then removed. Several
    processes may publish `path` at once.
    """
    aside = _aside(path)
    with explained(path):
        make_folder(path.parent)
        _sweep(path)
        remove_folder(aside)
        aside.mkdir()
        try:
            yield aside
            _fsync_tree(aside)
        except BaseException:
            remove_folder(aside)
            raise
        replace_folder(aside, path)


def replace_folder(aside: Path, path: Path) -> None:
    """Renames the finished folder `aside` to `path`. One that was there is removed once the new one is
    durable. Since a rename cannot replace a folder that holds anything, there is none for a moment."""
    old = _aside(path, "old")
    while True:
        remove_folder(old)
        with suppress(FileNotFoundError):
            os.rename(path, old)
        try:
            os.rename(aside, path)
            break
        except OSError as error:
            # Another process has published its own in between, which gives way like any that was there.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    fsync_folder(path.parent)
    remove_folder(old)
    _sweep(path, "old")


def move_away(path: Path) -> Path:
    """Renames what stands at `path`, whatever it is, to PATH.damaged or PATH.damaged-2 ..., whichever is free
    first; returns the new name."""
    for number in itertools.count(1):
        kept = path.with_name(f"{path.name}.damaged{f'-{number}' if number > 1 else ''}")
        if not os.path.lexists(kept):
            break
    with explained(path):
        os.rename(path, kept)
    return kept


def _fsync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _fsync(Path(parent, name))
        _fsync(Path(parent))


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it."""
    remove_folder(path) if path.is_dir() else path.unlink()


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)
