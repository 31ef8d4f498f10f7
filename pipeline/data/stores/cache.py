"""Shards of stores on this machine's disk: one copy for all processes of all jobs, within a limit.

A file is called by the sha256 of what is in it, so that a copy is never out of date, and appears under that
name only when it is whole. While it is brought, under SHA256.SIZE.part, its whole size counts. Files that are
open in some process are locked, and stay. Of the others, those go first that were not opened for longest.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.data.stores.download import StoredFile, download
from pipeline.data.stores.patience import Absent, Patience
from pipeline.data.stores.place import StoreSettings
from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.storage.atomic import fsync_file, fsync_folder, make_folder
from pipeline.storage.faults import explained, reason_of
from pipeline.storage.lock import hold_with_others, in_turn, try_hold, try_lock
from pipeline.storage.manifest import digest_file
from pipeline.words import note

FOLDER_VARIABLE = "HRGAN_CACHE"
"""The folder of the cache where `data.cache` is not set."""

_KEPT = re.compile(r"[0-9a-f]{64}\.(?:(?P<size>\d+)\.part|tar|damaged)")
_BELIEVED_SECONDS = 3600.0  # of what the store held instead of a shard
_LOCKS, _ROOM = "locks", ".room"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class _Entry:
    path: Path
    used: float  # when it was opened last
    bytes: int  # that it has or will have
    there: int  # that it has


class ShardCache:
    """The cache in `folder`, of at most `most` bytes: more only while shards that are open need it.

    tell: gets a line, once, where the disk is smaller than that.
    """

    def __init__(self, folder: Path, most: int, tell: Callable[[str], None] = note) -> None:
        self.folder, self.most, self._tell = folder, most, tell
        self._told = False

    def open(self, wanted: StoredFile, *, as_it_is: bool = False) -> tuple[Path, int]:
        """The file, brought here if it is not: its path and a descriptor of it. As long as that is open, the
        file stays under this path.

        as_it_is: take what the store holds even if it is not what the index says. Errors: Damaged unless
        that, or if there is nothing; RunFailed and UserError as `Patience.endure`, or for this disk.
        """
        while True:
            path = self._here(wanted, as_it_is)
            if path is None:
                path = self._bring(wanted, as_it_is)
            with suppress(FileNotFoundError):  # it went in this very moment
                descriptor = os.open(path, os.O_RDONLY)
                hold_with_others(descriptor, path)
                if os.fstat(descriptor).st_nlink:
                    if path.suffix != ".damaged":  # which is believed for so long
                        with suppress(OSError):  # another user's
                            os.utime(path)
                    return path, descriptor
                os.close(descriptor)

    def bring(self, wanted: StoredFile, given_up: Callable[[], bool]) -> None:
        """Brings the file here, in one try, unless it is here or somebody else brings it. Errors as `open`;
        GivenUp if `given_up` says so meanwhile."""
        with explained(self.folder):
            turn = try_lock(self._turn(wanted))
        if turn is None:
            return
        with turn:
            if self._here(wanted, False) is None:
                self._fill(wanted, Patience(wanted.place, 0.0, given_up=given_up), False)

    def drop_if_changed(self, wanted: StoredFile) -> bool:
        """Whether the copy that is here is not what it was when it was brought; it is then removed."""
        path = self._path(wanted)
        with suppress(OSError):
            if digest_file(path) != wanted.sha256:
                path.unlink(missing_ok=True)
                return True
        return False

    def _here(self, wanted: StoredFile, as_it_is: bool) -> Path | None:
        path = self._path(wanted)
        with suppress(OSError):
            if path.stat().st_size == wanted.bytes:
                return path
        damaged = path.with_suffix(".damaged")
        with suppress(OSError):
            if as_it_is and time.time() - damaged.stat().st_mtime < _BELIEVED_SECONDS:
                return damaged
        return None

    def _bring(self, wanted: StoredFile, as_it_is: bool) -> Path:
        with explained(self.folder):
            turn = in_turn(self._turn(wanted))
        with turn:  # whoever was before us may have brought it
            return self._here(wanted, as_it_is) or self._fill(wanted, Patience(wanted.place), as_it_is)

    def _fill(self, wanted: StoredFile, patience: Patience, as_it_is: bool) -> Path:
        part = self.folder / f"{wanted.sha256}.{wanted.bytes}.part"
        target = self._path(wanted)
        with self._room_for(part, wanted.bytes):
            try:
                self._download(wanted, part, patience)
            except Damaged as damage:
                if not as_it_is or isinstance(damage.__cause__, Absent):
                    part.unlink(missing_ok=True)
                    raise
                target = target.with_suffix(".damaged")
            with explained(target):
                fsync_file(part)
                os.replace(part, target)
                fsync_folder(self.folder)
        return target

    def _download(self, wanted: StoredFile, part: Path, patience: Patience) -> None:
        while True:
            try:
                download(wanted, part, patience)
                return
            except RunFailed as failure:
                if not _is_full(failure):
                    raise
                freed = self._shrink()
                if not freed:
                    raise RunFailed(
                        f"{self.folder}: cannot keep {wanted.place.name}: {reason_of(_cause(failure))}; free "
                        "some room, or set data.cache to a folder on another disk; the same command goes on"
                    ) from failure
                self._say(
                    f"{self.folder}: the disk is full; the cache of shards keeps less than data.cache_gb"
                )

    @contextmanager
    def _room_for(self, part: Path, size: int) -> Iterator[None]:
        """Inside, `part` exists, is counted, and is nobody else's to remove."""
        with explained(self.folder), in_turn(self.folder / _ROOM):
            self._make_room(0 if part.exists() else size)
            file = part.open("ab")
            assert try_hold(file.fileno(), part), "its turn is ours"
        with file:
            yield

    def _make_room(self, size: int) -> None:
        entries = self._entries()
        held, there = sum(entry.bytes for entry in entries), sum(entry.there for entry in entries)
        disk = there + shutil.disk_usage(self.folder).free
        if disk < min(self.most, held + size):
            self._say(
                f"{self.folder}: its disk has {disk / 1e9:.1f} GB for the cache of shards, less than "
                f"data.cache_gb={self.most / 1e9:g}; it keeps less"
            )
        for entry in entries:
            if held + size <= min(self.most, disk):
                break
            held -= entry.bytes if _remove(entry.path) else 0

    def _shrink(self) -> int:
        """Removes half of what nobody has open; returns how many bytes."""
        freed = 0
        with in_turn(self.folder / _ROOM):
            entries = self._entries()
            for entry in entries:
                if freed and freed >= sum(one.there for one in entries) // 2:
                    break
                freed += entry.there if _remove(entry.path) else 0
        return freed

    def _entries(self) -> list[_Entry]:
        """What is here, the longest unused first."""
        entries = []
        for name in os.listdir(self.folder):
            match = _KEPT.fullmatch(name)
            with suppress(OSError):
                if match:
                    status = (self.folder / name).stat()
                    size = max(int(match["size"] or 0), status.st_size)
                    entries.append(_Entry(self.folder / name, status.st_mtime, size, status.st_size))
        return sorted(entries, key=lambda entry: entry.used)

    def _path(self, wanted: StoredFile) -> Path:
        return self.folder / f"{wanted.sha256}.tar"

    def _turn(self, wanted: StoredFile) -> Path:
        # Few locks for many shards, since a lock's file has to stay.
        make_folder(self.folder / _LOCKS)
        return self.folder / _LOCKS / wanted.sha256[:2]

    def _say(self, line: str) -> None:
        if not self._told:
            self._told = True
            self._tell(line)


def _is_full(failure: BaseException) -> bool:
    """Whether a disk has no room left."""
    error = _cause(failure)
    return isinstance(error, OSError) and error.errno in _FULL


def _cause(failure: BaseException) -> BaseException:
    return failure.__cause__ or failure


def _remove(path: Path) -> bool:
    """Removes a file unless it is open somewhere."""
    with suppress(OSError):
        with path.open("rb") as file:
            if not try_hold(file.fileno(), path):
                return False
            path.unlink()
        return True
    return False


@cache
def cache_for(settings: StoreSettings, tell: Callable[[str], None] = note) -> ShardCache:
    """The cache of this process for these settings."""
    return ShardCache(cache_folder(settings, tell), round(settings.cache_gb * 1e9), tell)


def cache_folder(settings: StoreSettings, tell: Callable[[str], None] = note) -> Path:
    """The folder that `data.cache` or HRGAN_CACHE names; otherwise ~/.cache/hrgan/shards or, where that
    cannot be written, a folder of this user's own among the temporary ones, which `tell` is told."""
    asked = settings.cache or os.environ.get(FOLDER_VARIABLE)
    if asked:
        folder = Path(asked).expanduser()
        with explained(folder):
            _writable(folder)
        return folder
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hrgan" / "shards"
    try:
        _writable(folder)
    except OSError as error:
        other = _temporary()
        tell(f"{folder}: {reason_of(error)}; shards are kept in {other} (data.cache sets another folder)")
        return other
    return folder


def _writable(folder: Path) -> None:
    make_folder(folder / _LOCKS)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _temporary() -> Path:
    folder = Path(tempfile.gettempdir()) / f"hrgan-shards-{os.getuid()}"
    with explained(folder):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        about = folder.lstat()
        # Anybody may have made it first, to choose what is trained on.
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            raise UserError(f"{folder}: belongs to another user; set data.cache to a folder of your own")
        _writable(folder)
    return folder
