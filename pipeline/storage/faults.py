"""What an OSError means to a person, in one line: a path that was typed wrongly, or a machine that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pipeline.errors import RunFailed, UserError

_TYPED = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links lead in a circle",
}
_MACHINES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file would be larger than allowed here",
    errno.EIO: "the disk, or the way to it, fails (input/output error)",
    errno.EREMOTEIO: "the disk, or the way to it, fails (remote input/output error)",
    errno.ESTALE: "the file server knows the file no more (stale file handle)",
    errno.EBUSY: "the file system has it in use (device or resource busy)",
    errno.ETIMEDOUT: "the file server does not answer (timed out)",
    errno.EHOSTDOWN: "the file server does not answer (host is down)",
    errno.ENOTCONN: "the file system is not connected",
    errno.ESHUTDOWN: "the file system was shut down",
    errno.ENODEV: "the device is gone",
    errno.ENXIO: "the device is gone",
    errno.ENOMEM: "out of memory",
    errno.EMFILE: "too many open files (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOLCK: "the file system has no locks left",
}
Doing = Literal["read", "write"]
_STANDS = "what was there before is untouched"


def machine_fails(error: BaseException | None) -> bool:
    """Whether the machine is at fault: neither what was typed nor what is in a file."""
    return isinstance(error, OSError) and error.errno in _MACHINES


def reason_of(error: BaseException) -> str:
    """The reason of an error, in words."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        return str(error)
    return _MACHINES.get(number) or _TYPED.get(number) or os.strerror(number)


def line_of(error: OSError, path: Path | str | None = None, doing: Doing | None = None) -> str | None:
    """One line with the file (`path`, else the error's own) and the reason; None if nobody is known to be at
    fault but the program."""
    if error.errno not in _MACHINES and error.errno not in _TYPED:
        return None
    reason = reason_of(error)
    parts = [str(path or error.filename or ""), f"cannot {doing}" if doing else "", reason]
    line = ": ".join(part for part in parts if part)
    if doing == "write":
        line += f"; {_STANDS}"
    if machine_fails(error):
        line += "; the same command goes on"
    return line


@contextmanager
def explained(path: Path, doing: Doing = "write") -> Iterator[None]:
    """Turns an OSError at `path` into one line: UserError for a path, RunFailed for a machine."""
    try:
        yield
    except OSError as error:
        line = line_of(error, path, doing)
        if line is None:
            raise
        raise (RunFailed if machine_fails(error) else UserError)(line) from error


@contextmanager
def machine_explained(path: Path) -> Iterator[None]:
    """Turns a machine's fault while `path` is read into a RunFailed of one line; other errors pass."""
    try:
        yield
    except OSError as error:
        if not machine_fails(error):
            raise
        raise RunFailed(str(line_of(error, path, "read"))) from error


def refusal(damage: BaseException, line: str) -> UserError | RunFailed:
    """The error that a command ends with because a file is not whole: UserError with `line`, or RunFailed if
    a machine could not read what may be whole."""
    if machine_fails(damage.__cause__):
        return RunFailed(f"{damage}; the same command goes on when it can be read")
    return UserError(line)
