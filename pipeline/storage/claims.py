"""Claims on work that many processes look for and only one may do at a time: files with signs of life.

They need nothing but a file system that all see and that has hard links: no server, and no locks, which some
network file systems lack. A claim whose owner died is taken over by exactly one of those who want it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.reading import read_as
from pipeline.storage.atomic import aside_of, make_folder
from pipeline.storage.faults import explained
from pipeline.storage.owners import is_gone, place

STALE_SECONDS = 60.0
_CLAIM = re.compile(r"\.(.+)\.claim-(\d+)")
_BEATS = 6  # signs of life in that time: a busy machine or disk may swallow several of them


@dataclass(frozen=True)
class Owner:
    """The process that holds a claim. place: the machine and the process table where `pid` is its number."""

    token: str
    host: str
    pid: int
    place: str

    @property
    def is_dead_here(self) -> bool:
        """Whether it ran in this table of processes and is gone. Elsewhere (in a container, say) another
        process may have its number here, so that only its silence tells."""
        return self.place == place() and is_gone(self.pid)


class Claims:
    """The claims in `folder`, by name.

    A claim is the file .NAME.claim-N with the highest N. Whoever finds it stale makes N + 1 by a hard link,
    which fails where the name exists, so that only one succeeds. Removing a stale claim first and making it
    anew would not do: a slow process could remove the new one. Nobody renames over a claim, or removes one
    that it does not hold. stale_seconds: silence after which an owner counts as dead, by the file system's
    clock.
    """

    def __init__(self, folder: Path, stale_seconds: float = STALE_SECONDS) -> None:
        self._folder, self._stale = folder, stale_seconds

    def take(self, name: str) -> Claim | None:
        """The claim, if it is now ours; None while somebody who lives holds it.

        After taking it, look again whether there is work left: whoever held it before may have finished.
        """
        with explained(self._folder):
            make_folder(self._folder)
            owner = Owner(uuid.uuid4().hex, socket.gethostname(), os.getpid(), place())
            mine = aside_of(self._folder / name)
            mine.write_text(json.dumps(asdict(owner)))
            try:
                return self._take(name, mine, owner)
            finally:
                mine.unlink(missing_ok=True)

    def wait_for(self, name: str, poll_seconds: float = 0.1) -> Claim:
        """Waits until the claim is ours."""
        while (claim := self.take(name)) is None:
            time.sleep(poll_seconds)
        return claim

    def sweep(self) -> None:
        """Removes what the dead have claimed of work that is done, since nobody will take it over."""
        with suppress(OSError, UserError, RunFailed):  # not there, or not ours to write
            for name in {
                match[1] for entry in os.listdir(self._folder) if (match := _CLAIM.fullmatch(entry))
            }:
                claim = self.take(name)
                if claim is not None:
                    claim.release()

    def _take(self, name: str, mine: Path, owner: Owner) -> Claim | None:
        held = self._held(name)
        before = self._path(name, held[-1]) if held else None
        stale = None
        if before is not None:
            stale = _read(before)
            # Both times come from the file system. Clocks of machines differ, by more than a claim's minute
            # at times: by our own, a living owner's last sign could seem old.
            if not self._is_stale(before, stale, mine.stat().st_mtime):
                return None
        number = held[-1] + 1 if held else 0
        path = self._path(name, number)
        try:
            os.link(mine, path)
        except FileExistsError:
            return None
        claim = Claim(path, owner, self._stale / _BEATS, [self._path(name, n) for n in held])
        if before is not None and _read(before) != stale:
            claim.release()  # its owner ended in good order while we looked
            return None
        return claim

    def _is_stale(self, path: Path, owner: Owner | None, now: float) -> bool:
        try:
            age = now - path.stat().st_mtime
        except FileNotFoundError:
            # Just released. To go on with N + 1 would be wrong: who looks now sees no claim at all and makes
            # the first, and two would hold it. The next look will do.
            return False
        return age > self._stale or (owner is not None and owner.is_dead_here)

    def _held(self, name: str) -> list[int]:
        matches = (_CLAIM.fullmatch(entry) for entry in os.listdir(self._folder))
        return sorted(int(match[2]) for match in matches if match and match[1] == name)

    def _path(self, name: str, number: int) -> Path:
        return self._folder / f".{name}.claim-{number}"


class Claim:
    """A claim that this process holds. A thread gives signs of life until it is released."""

    def __init__(self, path: Path, owner: Owner, interval: float, older: list[Path]) -> None:
        self._path, self._owner, self._older = path, owner, older
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(interval,), name="claim", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Gives the claim up. The stale claims below it go first: with ours gone before them, the highest of
        them would be the claim again."""
        self._over.set()
        self._thread.join()
        for path in self._older:
            with suppress(OSError):  # a folder that somebody gave such a name does no harm
                path.unlink()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _live(self, interval: float) -> None:
        while not self._over.wait(interval):
            # A file system that is away for a moment is no reason to stop: what was claimed is work that
            # gives the same result whoever does it.
            with suppress(OSError):
                os.utime(self._path)


def _read(path: Path) -> Owner | None:
    try:
        return read_as(Owner, path)
    except (FileNotFoundError, Damaged):
        return None  # judged by its age alone
