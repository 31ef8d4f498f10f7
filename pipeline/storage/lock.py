"""Locks that die with their owner: the kernel frees them when a process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.errors import UserError
from pipeline.storage.atomic import make_folder
from pipeline.storage.faults import explained

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_POLL_SECONDS = 0.2


@contextmanager
def only_writer(folder: Path, wait_seconds: float = 0) -> Iterator[None]:
    """Holds `folder` alone. A second writer waits for the first for `wait_seconds`, then gets a UserError."""
    with _writer(folder, fcntl.LOCK_EX, wait_seconds):
        yield


@contextmanager
def one_of_writers(folder: Path) -> Iterator[None]:
    """Holds `folder` together with others that do the same work; `only_writer` gets a UserError meanwhile."""
    with _writer(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _writer(folder: Path, kind: int, wait_seconds: float = 0) -> Iterator[None]:
    with explained(folder):
        make_folder(folder)
    end = time.monotonic() + wait_seconds
    while (file := _lock(folder / ".lock", kind | fcntl.LOCK_NB)) is None and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    if file is None:
        raise UserError(f"{folder}: another process is writing this folder; wait for it or stop it")
    with file:
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Holds the file `path`, after whoever holds it now. Its folder must exist."""
    file = _lock(path, fcntl.LOCK_EX)
    assert file is not None, "a lock that waits is always had"
    with file:
        yield


def try_lock(path: Path) -> IO[str] | None:
    """Holds the file `path` until what is returned is closed; None if another holds it, in this process or
    any other."""
    return _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def among(path: Path) -> Iterator[bool]:
    """Holds the file `path` together with others, and says whether nobody else holds it yet. Who asks does so
    `in_turn`, since two at once could both be told of each other."""
    first = try_lock(path)
    if first is not None:
        fcntl.flock(first, fcntl.LOCK_SH)
    file = first or _lock(path, fcntl.LOCK_SH)
    assert file is not None, "a lock that waits is always had"
    with file:
        yield first is not None


def release(lock: IO[str]) -> None:
    """Releases at once what `try_lock` holds, though processes forked meanwhile have it open too."""
    with lock:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _lock(path: Path, kind: int) -> IO[str] | None:
    # The lock belongs to the open file, not to its name. So the file stays when the lock is released: if it
    # went, a process that waited for it would hold a file without a name, while the next makes another.
    with explained(path):
        file = path.open("w")
    try:
        held = _flock(file.fileno(), path, kind)
    except BaseException:
        file.close()
        raise
    if not held:
        file.close()
        return None
    return file


def hold_with_others(descriptor: int, path: Path) -> None:
    """Holds an open file together with others that do, until it is closed; waits for one that holds it alone.
    path: its name in errors."""
    _flock(descriptor, path, fcntl.LOCK_SH)


def try_hold(descriptor: int, path: Path) -> bool:
    """Holds an open file alone, until it is closed; False if another holds it. path: its name in errors."""
    return _flock(descriptor, path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _flock(descriptor: int, path: Path, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            with explained(path):
                raise
        raise UserError(
            f"{path.parent}: its file system has no locks (flock: {error.strerror}); "
            "write to another one, or mount it with them"
        ) from error
    return True
