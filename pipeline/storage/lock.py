"""One writer a run folder: a lock that dies with its owner."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError
from pipeline.storage.atomic import explained


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds `folder`; a second writer gets a UserError. The kernel frees it when the process ends,
    however it ends, so that nothing stale is ever left."""
    path = folder / ".lock"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another process is writing this folder; wait for it or stop it"
            ) from error
        yield
