"""Makes a recipe's library: takes it from the cache, or compiles it into the cache."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ops.building import tools
from ops.building.cache import ENVIRONMENT, Cache
from ops.building.recipe import Recipe, content, fits
from ops.building.tools import CannotBuild

LOG = "build.log"
_PR_SET_PDEATHSIG = 1
_STATUS = re.compile(r"\[(\d+)/(\d+)\] ")  # with which ninja begins the line of a finished step
_SILENCE_SECONDS = 10.0
_ERROR = re.compile(r"\b(?:error|fatal)\b|undefined reference|undefined symbol|cannot find -l", re.IGNORECASE)


@dataclass(frozen=True)
class Made:
    """A library that exists. seconds: how long it took to compile just now; 0 if it existed before."""

    path: Path
    seconds: float = 0.0

    @property
    def log(self) -> Path:
        """The output of the compilers."""
        return self.path.parent / LOG


def find(recipe: Recipe, cache: Cache) -> Path | None:
    """Returns the library if it is in the cache; without compilers, one that was made elsewhere will do."""
    if recipe.missing is None:
        return cache.read(recipe.digest)
    return cache.search(lambda identity: fits(identity, recipe))


def make(
    recipe: Recipe, cache: Cache, tell: Callable[[str], None], *, force: bool = False, verbose: bool = False
) -> Made:
    """Returns the library, compiled if it is not in the cache. Raises CannotBuild with the reason if there is
    none.

    Any number of processes may call this at once. force: whether to compile a library that exists again.
    """
    library = None if force else find(recipe, cache)
    if library:
        return Made(library)
    _check(recipe)
    cache.prepare()
    try:
        return _make_in_turn(recipe, cache, tell, force, verbose)
    except OSError as error:
        where = f"{error.filename or cache.root}: {error.strerror}"
        raise CannotBuild(f"{where}: make room, or set {ENVIRONMENT} to another folder") from error


def _make_in_turn(
    recipe: Recipe, cache: Cache, tell: Callable[[str], None], force: bool, verbose: bool
) -> Made:
    def settled() -> bool:
        return not force and (cache.read(recipe.digest) or cache.failure(recipe.digest)) is not None

    def waits(whom: str) -> None:
        tell(f"hrgan: waiting for {whom}, which compiles operations for {recipe.kind}")

    with cache.turn(recipe.digest, settled, waits):
        if settled():
            return Made(_cached_or_why(recipe, cache))
        cache.sweep()
        if force:
            cache.forget(recipe.digest)
        tell(f"hrgan: compiling operations for {recipe.kind}, once, into {cache.root}")
        return _compile(recipe, cache, tell, verbose)


def _cached_or_why(recipe: Recipe, cache: Cache) -> Path:
    library = cache.read(recipe.digest)
    if library is None:
        raise CannotBuild(cache.failure(recipe.digest) or f"{cache.root}: the library is gone: try again")
    return library


def _check(recipe: Recipe) -> None:
    if recipe.missing is not None:
        raise CannotBuild(recipe.missing)
    if not recipe.sources:
        raise CannotBuild(f"{recipe.root}: no sources for {recipe.kind}: install hrgan again")


def _compile(recipe: Recipe, cache: Cache, tell: Callable[[str], None], verbose: bool) -> Made:
    start = time.monotonic()
    with cache.building() as folder:
        code, log = _run_ninja(recipe, folder, tell, verbose)
        if code:
            raise _failed(recipe, cache, log)
        if content(recipe.root, recipe.kind) != recipe.identity["sources"]:
            raise CannotBuild(f"{recipe.root}: sources changed while they were compiled: try again")
        for path in (*folder.glob("*.o"), *folder.glob("*.gch"), *folder.glob(".ninja*")):
            path.unlink()
        seconds = time.monotonic() - start
        path = cache.publish(
            folder, recipe.digest, recipe.library, recipe.identity, seconds=round(seconds, 1)
        )
        cache.pardon(recipe.digest)
        return Made(path, seconds)


def _run_ninja(recipe: Recipe, folder: Path, tell: Callable[[str], None], verbose: bool) -> tuple[int, str]:
    """Runs ninja; returns its exit code and the output of the compilers, which is also in build.log."""
    progress = _Progress(recipe.kind, tell)
    (folder / "build.ninja").write_text(recipe.script(), encoding="utf-8")
    command = [tools.find_ninja(), "-C", str(folder), "-v", "-j", str(_jobs())]
    lines = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=_end_with_parent,
    ) as ninja:
        assert ninja.stdout
        for line in ninja.stdout:
            lines.append(line)
            progress.take(line)
            if verbose:
                sys.stderr.write(line)
        code = ninja.wait()
    log = "".join(lines)
    (folder / LOG).write_text(log, encoding="utf-8")
    return code, log


class _Progress:
    """Tells how much has been compiled, at most every few seconds."""

    def __init__(self, kind: str, tell: Callable[[str], None]) -> None:
        self._kind, self._tell = kind, tell
        self._began = self._told = time.monotonic()

    def take(self, line: str) -> None:
        """Takes a line of ninja's output."""
        status, now = _STATUS.match(line), time.monotonic()
        if status and status[1] != status[2] and now - self._told >= _SILENCE_SECONDS:
            self._told = now
            seconds = now - self._began
            self._tell(f"hrgan: {self._kind}: {status[1]} of {status[2]} steps compiled, {seconds:.0f} s")


def _jobs() -> int:
    """Returns $MAX_JOBS, which torch's own builds read too, or else the number of cores."""
    asked = os.environ.get("MAX_JOBS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else len(os.sched_getaffinity(0))


def _end_with_parent() -> None:
    # If the builder is killed outright, compilers must not go on in a folder that others will remove.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _failed(recipe: Recipe, cache: Cache, log: str) -> CannotBuild:
    lines = [line.strip() for line in log.splitlines()]
    # Command lines, which ninja prints before the output of the compiler, may contain the word as well.
    said = [line for line in lines if _ERROR.search(line) and " -o " not in line]
    first = (said or [line for line in lines if line] or ["no message"])[0][:300]
    cause = f"compiling for {recipe.kind} failed: {first} (log: {cache.log(recipe.digest)})"
    cache.record_failure(recipe.digest, cause, log)
    return CannotBuild(cause)
