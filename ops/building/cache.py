"""A cache with one folder per digest, published as a whole by a rename, so that any number of builders yield
one library.

The lock only saves work. Where it does not hold (on another host, on some network file systems), several
processes build, and the first rename wins.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.building.tools import CannotBuild

ENVIRONMENT = "HRGAN_OPS_CACHE"
MANIFEST = "manifest.json"
BUILDING = ".building-"  # .building-HOST-PID-RANDOM, until it is renamed to its digest
WAIT_SECONDS = 1800.0  # how long to wait for another builder before building as well
POLL_SECONDS = 0.1
FAILURE_SECONDS = 600.0  # how long a recorded failure is reported without another attempt
FOREIGN_SECONDS = 86_400.0  # the age at which the folder of another host's builder counts as abandoned
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def default_root() -> Path:
    """Returns $HRGAN_OPS_CACHE, else $XDG_CACHE_HOME/hrgan/ops, else ~/.cache/hrgan/ops."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "hrgan/ops"
    except RuntimeError as error:
        raise CannotBuild(f"no home folder: set {ENVIRONMENT} to a folder that can be written") from error


@dataclass(frozen=True)
class Cache:
    """The libraries below `root`, by digest."""

    root: Path

    def folder(self, digest: str) -> Path:
        """Returns the folder of the library with this digest, whether it exists or not."""
        return self.root / digest[:32]

    def read(self, digest: str) -> Path | None:
        """Returns the library with this digest if it is complete and undamaged, else None."""
        return verified(self.folder(digest))

    def search(self, suits: Callable[[dict[str, Any]], bool]) -> Path | None:
        """Returns an undamaged library whose identity suits, or None."""
        for path in sorted(self.root.glob(f"*/{MANIFEST}")):
            identity = (_manifest(path.parent) or {}).get("identity")
            if not path.parent.name.startswith(".") and isinstance(identity, dict) and suits(identity):
                library = verified(path.parent)
                if library:
                    return library
        return None

    def log(self, digest: str) -> Path:
        """Returns the path of the log of a failed build."""
        return self.root / f"{digest[:32]}.log"

    def prepare(self) -> None:
        """Creates the root. Raises CannotBuild if nothing can be written there."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            raise CannotBuild(
                f"{self.root}: cannot write ({error.strerror}): "
                f"set {ENVIRONMENT} to a folder that can be written"
            ) from error

    @contextmanager
    def building(self) -> Iterator[Path]:
        """Yields a private folder to build in, under a lock that ends with this process; removes it
        afterwards.
        """
        folder = self.root / f"{BUILDING}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir()
        try:
            with _locked(folder / "alive"):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, folder: Path, digest: str, library: str, identity: dict[str, Any], **facts: Any
    ) -> Path:
        """Renames a finished build to its digest and returns the path of the library. If another builder was
        first, that is the other's."""
        manifest = {"identity": identity, "libraries": {library: _sha256(folder / library)}, **facts}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in (*folder.iterdir(), folder):
            _sync(path)
        target = self.folder(digest)
        for _ in range(100):
            with contextlib.suppress(OSError):
                folder.rename(target)
                _sync(self.root)
            if published := verified(target):
                return published
            _discard(target)  # damaged: move it out of the way and try again
        raise CannotBuild(f"{target}: cannot be replaced: remove it")

    def record_failure(self, digest: str, cause: str, log: str) -> None:
        """Records why a build failed, so that others who want the same library do not all fail in turn."""
        _write(self.log(digest), log)
        _write(self.log(digest).with_suffix(".failed"), cause)

    def failure(self, digest: str) -> str | None:
        """Returns why this build failed recently, or None."""
        path = self.log(digest).with_suffix(".failed")
        try:
            recent = time.time() - path.stat().st_mtime < FAILURE_SECONDS
            return path.read_text(encoding="utf-8") if recent else None
        except OSError:
            return None

    def pardon(self, digest: str) -> None:
        """Removes the record of a failure."""
        for path in (self.log(digest), self.log(digest).with_suffix(".failed")):
            with contextlib.suppress(OSError):
                path.unlink()

    def forget(self, digest: str) -> None:
        """Removes the library with this digest."""
        _discard(self.folder(digest))

    def sweep(self) -> list[Path]:
        """Removes the folders of dead builders, never that of a live one. Returns what was removed."""
        gone = [path for path in self.root.glob(f"{BUILDING}*") if _is_left_over(path)]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return gone

    @contextmanager
    def turn(self, digest: str, ready: Callable[[], bool], waits: Callable[[str], None]) -> Iterator[None]:
        """Lets one builder of a digest run at a time. Enters when it is this process's turn, when `ready`
        returns True, or after WAIT_SECONDS.

        waits: is called once with the name of the process that is waited for.
        """
        path, until, told = self.root / f"{digest[:32]}.lock", time.monotonic() + WAIT_SECONDS, False
        while True:
            with _locked(path) as held:
                if held or ready() or time.monotonic() > until:
                    if held:
                        _write_in_place(path, f"process {os.getpid()} on {socket.gethostname()}")
                    yield
                    return
            if not told:
                waits(_read(path) or "another process")
                told = True
            time.sleep(POLL_SECONDS)


def verified(folder: Path) -> Path | None:
    """Returns the library in a published folder if every byte is as it was written, else None."""
    manifest = _manifest(folder)
    if manifest is None:
        return None
    try:
        whole = all(_sha256(folder / name) == sha for name, sha in manifest["libraries"].items())
        return folder / next(iter(manifest["libraries"])) if whole else None
    except (OSError, KeyError, AttributeError, StopIteration):
        return None


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Takes the kernel's lock on a file, which ends with its holder. Yields True if it is held, or if there
    are no locks.

    The existence of the file means nothing, and children do not inherit the lock.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's file in a shared cache
        yield True
        return
    try:
        yield _took(handle)
    finally:
        os.close(handle)


def _took(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True


def _is_left_over(folder: Path) -> bool:
    host, _, rest = folder.name.removeprefix(BUILDING).rpartition("-")[0].rpartition("-")
    if host != _host():
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime > FOREIGN_SECONDS
        return False
    # Another container on this host may have process numbers of its own, but it shares the kernel's locks.
    return not _is_alive(int(rest)) and _is_free(folder / "alive") if rest.isdigit() else False


def _is_free(path: Path) -> bool:
    try:
        with _locked(path) as held:
            return held
    except OSError:
        return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _discard(folder: Path) -> None:
    """Removes a folder by renaming it first, so that nobody sees half of it."""
    aside = folder.with_name(f"{BUILDING}{_host()}-{os.getpid()}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _host() -> str:
    return socket.gethostname().replace("/", "_") or "host"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):  # records are only a convenience
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)


def _write_in_place(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(text, encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
