"""Signs of life between the processes of a run: if one dies or hangs, the job is ended in time, and the
process named.

Each rank rewrites a small file in the run folder and reads that of the next rank, in a ring, so that the cost
does not grow with the number of ranks. Files work under every launcher; the group's own store does not, since
the rank that holds it may be the one that has stopped.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.contracts import Process
from pipeline.errors import Damaged
from pipeline.reading import read_as
from pipeline.words import note

_NETWORK = "the network between processes is cut or too slow"
_RECORD = 512  # bytes: rewritten in place, which a full disk does not prevent


@dataclass(frozen=True)
class RankProgress:
    """The progress of a rank: steps done, images seen, and exchanges with other ranks begun."""

    step: int
    images_seen: int
    collectives: int


@dataclass(frozen=True)
class Sign:
    """One sign of life; `beat` counts them."""

    host: str
    beat: int
    step: int
    images_seen: int
    collectives: int


Outlook = Callable[[int, int], str]
"""How far the work is and what to do, for people, from the last step and the images seen."""


def training_outlook(step: int, images_seen: int) -> str:
    """Returns the outlook of a training run: how far it is and what to do."""
    where = f"the last step was {step}, at {images_seen} images"
    return f"{where}; the same command goes on from the last checkpoint"


class Watch:
    """One rank's judgement of the signs of another.

    silence: the seconds without a sign after which the other counts as dead. patience: the seconds for which
    it may lag behind in the same exchange.
    """

    def __init__(
        self, rank: int, silence: float, patience: float, now: float, outlook: Outlook = training_outlook
    ) -> None:
        self._rank, self._silence, self._patience, self._outlook = rank, silence, patience, outlook
        self._sign: Sign | None = None
        self._heard, self._moved = now, now
        self._left = False

    def look(self, sign: Sign | None, mine: RankProgress, now: float) -> str | None:
        """Why to end the run, if there is a reason. sign: the newest; None if there is no file."""
        if sign is None and self._sign is not None:
            self._left = True  # it was here and has taken its file away: it ended in good order
        if self._left:
            return None
        if sign is not None and sign != self._sign:
            self._heard = now
            # It hangs only if we wait for it: if it has begun fewer exchanges than we, and still the same
            # one.
            known = self._sign
            if known is None or known.collectives != sign.collectives or mine.collectives <= sign.collectives:
                self._moved = now
            self._sign = sign
        if now - self._heard > self._silence:
            return f"has given no sign of life for {now - self._heard:.0f} s"
        if now - self._moved > self._patience:
            return f"hangs: others have waited for it for {now - self._moved:.0f} s"
        return None

    def describe(self, why: str, mine: RankProgress) -> str:
        """The line for people. mine: of the rank that watches."""
        sign = self._sign
        where = f" on {sign.host}" if sign else ""
        # Ranks end a step together, so that what this one has done that one has done too, whether or not
        # it has had the time to say so.
        step, images = mine.step, mine.images_seen
        if sign is not None:
            step, images = max((step, images), (sign.step, sign.images_seen))
        return f"rank {self._rank}{where} {why}; {self._outlook(step, images)}"


class Heartbeat:
    """This rank's signs of life, and its watch over the next rank.

    folder: holds the files of all ranks. where: returns how far this rank is; it is called from a thread.
    end: is called with a line for the user when a rank is lost; by default it prints the line and ends this
    process, whose main thread may wait in an exchange forever. standstill: the seconds for which no rank may
    begin an exchange, for groups that do not end by themselves; longer than `patience`. outlook: tells the
    user how far the work is and what to do.
    """

    def __init__(
        self,
        folder: Path,
        process: Process,
        where: Callable[[], RankProgress],
        *,
        silence: float,
        patience: float,
        standstill: float = math.inf,
        end: Callable[[str], None] | None = None,
        outlook: Outlook = training_outlook,
    ) -> None:
        self._folder, self._process, self._where = folder, process, where
        self._standstill = standstill
        self._silence, self._patience, self._outlook = silence, patience, outlook
        self._end = end or end_process
        self._over = threading.Event()
        self._beat = 0
        self._read_last: Sign | None = None

    @contextmanager
    def running(self) -> Iterator[Heartbeat]:
        """Gives signs and watches for as long as the run lasts; alone, there is nothing to do."""
        if self._process.world_size == 1:
            yield self
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._give_sign()
        thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
        # After an error the file stays, and this rank is silent to whoever still waits for it.
        with suppress(OSError):  # the work is done; and other ranks are still there
            self._path(self._process.rank).unlink(missing_ok=True)
            self._folder.rmdir()

    def name_the_lost(self, told: Callable[[], bool] = lambda: False) -> str:
        """After an exchange has failed: waits for as long as a dead rank takes to be noticed. Whoever
        watches it names it and ends the job. If all live, what this rank can say of the failure.

        told: whether the launcher has seen it too, and asks this rank to end.
        """
        end = time.monotonic() + self._silence + 2 * self._interval
        while self._process.world_size > 1 and time.monotonic() < end:
            if told():
                return f"{self._me} has lost contact with another process"
            time.sleep(0.1)
        if self._read_last is None:
            return f"{self._me} has lost contact with another process"
        return (
            f"{self._me} has lost contact, though rank {self._following} on {self._read_last.host} gives "
            f"signs of life: {_NETWORK}"
        )

    @property
    def _me(self) -> str:
        return f"rank {self._process.rank} on {host()}"

    @property
    def _following(self) -> int:
        return (self._process.rank + 1) % self._process.world_size

    @property
    def _interval(self) -> float:
        return min(self._silence / 6, 10.0)

    def _live(self) -> None:
        following = self._following
        watch = Watch(following, self._silence, self._patience, time.monotonic(), self._outlook)
        last = time.monotonic()
        moved, begun = last, -1
        while not self._over.wait(self._interval):
            # First: to read another's may take long on a slow file system, and may end this process.
            self._give_sign()
            now = time.monotonic()
            if now - last > self._silence / 2:
                # This process itself was stopped, or starved: what it missed meanwhile is no evidence.
                watch = Watch(following, self._silence, self._patience, now, self._outlook)
                moved = now
            last = now
            mine = self._where()
            if mine.collectives != begun:
                moved, begun = now, mine.collectives
            why = watch.look(self._read(following), mine, now)
            if why is not None:
                self._end(watch.describe(why, mine))
                return
            if now - moved > self._standstill:
                outlook = self._outlook(mine.step, mine.images_seen)
                self._end(f"{self._me} waits in an exchange for {now - moved:.0f} s, {_NETWORK}; {outlook}")
                return

    def _give_sign(self) -> None:
        self._beat += 1
        sign = Sign(host(), self._beat, **asdict(self._where()))
        record = json.dumps(asdict(sign)).encode().ljust(_RECORD)
        # The next may succeed; if none does, the watcher says that this rank is silent.
        with suppress(OSError):
            descriptor = os.open(self._path(self._process.rank), os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                # In place and without fsync: a file that is renamed anew every few seconds would cost a
                # shared file system more. A reader may meet half of it, which is nothing new to it.
                os.pwrite(descriptor, record, 0)
            finally:
                os.close(descriptor)

    def _read(self, rank: int) -> Sign | None:
        try:
            self._read_last = read_as(Sign, self._path(rank))
        except FileNotFoundError:
            self._read_last = None
        except Damaged:
            pass  # between two writes, or a file system that is away: nothing new
        return self._read_last

    def _path(self, rank: int) -> Path:
        return self._folder / f"rank-{rank:05d}.json"


def host() -> str:
    """Returns the name of this machine; under SLURM, that of the node."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def end_process(line: str) -> None:
    """Prints `line` and ends this process, whatever its threads are waiting for."""
    note(f"error: {line}")
    # Not sys.exit: it would wait for the main thread, which may be in an exchange that never returns.
    os._exit(1)
