"""Running a race: each lap trains one entrant with one seed, then measures what it has left, in processes of
their own; several laps at once if asked for.

What is finished is not done again: a run goes on from its checkpoint, and `hrgan evaluate` passes over what
it has measured. So the same command after a kill goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from launch.cluster.processes import end_with_parent
from pipeline.data.shards.index import ShardIndex
from pipeline.storage.lock import only_writer
from pipeline.storage.positions import numbered_folders
from pipeline.storage.snapshots import list_snapshots
from tools.learning_race.curves import training_seconds
from tools.learning_race.entrants import Entrant
from tools.learning_race.peers import SETS, is_done
from tools.learning_race.sets import write_halves
from tools.ranks import ROOT

_POLL_SECONDS, _STATUS_SECONDS = 0.1, 60.0
_ENDING_SECONDS = 60.0
_ENDLESS_IMAGES = 10**12
_TICKS = 4
"""Lines of the log between two snapshots: each says how long training took."""


@dataclass(frozen=True)
class Race:
    """What is asked for.

    folder: of everything that the race leaves. data: the shards. images, seconds: every entrant trains until
    it has had both. every: images between two measurements. count: samples in each. measure, train: further
    options of `hrgan evaluate` and of `hrgan train`. at_once: laps side by side.
    """

    folder: Path
    data: str
    entrants: Sequence[Entrant]
    seeds: Sequence[int]
    images: int
    seconds: float
    every: int
    count: int
    measure: Sequence[str] = ()
    train: Sequence[str] = ()
    at_once: int = 1

    def run(self, entrant: Entrant, seed: int) -> Path:
        """The folder of one lap."""
        return self.folder / entrant.name / f"seed-{seed}"

    def changes(self, entrant: Entrant, seed: int) -> list[str]:
        """What the race sets in the entrant's configuration."""
        endless = bool(self.seconds)
        return [
            *entrant.changes,
            f"seed={seed}",
            f"data.path={self.data}",
            f"length.images={_ENDLESS_IMAGES if endless else self.images}",
            f"snapshots.every_images={self.every}",
            f"checkpoints.every_images={self.every}",
            f"report.every_images={max(self.every // _TICKS, 1)}",
            "report.tensorboard=false",
        ]

    @property
    def floor(self) -> Path:
        """The folder of the two halves of the reals."""
        return self.folder / "reals"


class Started(Protocol):
    """A process, as `subprocess.Popen`."""

    def poll(self) -> int | None: ...

    def send_signal(self, number: int) -> None: ...

    def wait(self) -> int: ...


@dataclass(frozen=True)
class Work:
    """A program to run: `python -m MODULE ARGUMENTS`. log: where its words go. enough: whether it may stop
    though it would go on."""

    title: str
    module: str
    arguments: Sequence[str]
    log: Path
    enough: Callable[[], bool] = lambda: False


Start = Callable[[Work], Started]
Lap = Iterator[Work]


def start(work: Work) -> Started:
    """Starts a program that ends with this process, even if that is killed."""
    work.log.parent.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with work.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", work.module, *work.arguments],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def laps(race: Race, data: ShardIndex) -> dict[str, Lap]:
    """All laps by what they are called, first seeds first, and the floor at the end."""
    found = {
        f"{entrant.name}, seed {seed}": lap(race, entrant, seed)
        for seed in race.seeds
        for entrant in race.entrants
    }
    return {**found, "reals against reals": floor(race, data)}


def lap(race: Race, entrant: Entrant, seed: int) -> Lap:
    """What is still to be done for one entrant with one seed."""
    run = race.run(entrant, seed)
    if entrant.peer:
        training = _training_of_peer(race, entrant, run, seed)
        if not is_done(run, training.arguments):
            yield training
        for folder in numbered_folders(run / SETS):
            yield _measuring(race, run, folder)
        return
    if not _has_all(race, run):
        with only_writer(run, _ENDING_SECONDS):  # one that a killed race has left is still saving
            pass
        yield Work(
            "training",
            "launch.main",
            ["train", str(entrant.config), *race.changes(entrant, seed), "--run", str(run), *race.train],
            run / "train.txt",
            lambda: bool(race.seconds) and _has_all(race, run),
        )
    yield _measuring(race, run, run, "--all")


def _training_of_peer(race: Race, entrant: Entrant, run: Path, seed: int) -> Work:
    asked = {"images": race.images, "seconds": race.seconds, "every": race.every, "count": race.count}
    options = [f"--{name}={value}" for name, value in asked.items()]
    arguments = [entrant.peer, str(entrant.checkout), str(entrant.config), str(run)]
    changes = race.changes(entrant, seed)
    return Work("training", "tools.learning_race.peers", [*arguments, *changes, *options], run / "train.txt")


def floor(race: Race, data: ShardIndex) -> Lap:
    """One half of the reals, measured against the other."""
    first, second = write_halves(data, race.floor, race.count)
    yield _measuring(race, race.floor, first, data=str(second))


def _measuring(race: Race, run: Path, what: Path, *more: str, data: str = "") -> Work:
    arguments = ["evaluate", str(what), "--data", data or race.data, *more, *race.measure]
    if what == run:  # of a data set, all are measured
        arguments += ["--count", str(race.count)]
    return Work("measuring", "launch.main", arguments, run / "evaluate.txt")


def _has_all(race: Race, run: Path) -> bool:
    """Whether a snapshot of a run of ours has had the images and the seconds."""
    seconds = training_seconds(run)
    there = [int(folder.name) for folder in list_snapshots(run)]
    return any(images >= race.images and seconds.get(images, -1) >= race.seconds for images in there)


def conduct(race: Race, data: ShardIndex, say: Callable[[str], None], start: Start = start) -> list[str]:
    """Runs all laps, `race.at_once` side by side. Returns a line for each that failed; others go on."""
    conductor = _Conductor(laps(race, data), say, start)
    try:
        while conductor.goes_on(race.at_once):
            time.sleep(_POLL_SECONDS)
    finally:
        conductor.end()
    return conductor.failed


class _Conductor:
    """Starts programs, looks after them, and ends them with itself."""

    def __init__(self, laps: Mapping[str, Lap], say: Callable[[str], None], start: Start) -> None:
        self.failed: list[str] = []
        self._waiting, self._total = deque(laps.items()), len(laps)
        self._running: dict[str, tuple[Lap, Work, Started]] = {}
        self._say, self._start, self._told = say, start, time.monotonic()

    def goes_on(self, at_once: int) -> bool:
        """Looks at all programs once, and starts what can be; whether there is any left."""
        for name, (lap, work, process) in list(self._running.items()):
            code = _ended(work, process)
            if code is not None:
                del self._running[name]
                self._after(name, lap, work, code)
        while self._waiting and len(self._running) < at_once:
            self._next(*self._waiting.popleft())
        if time.monotonic() - self._told > _STATUS_SECONDS:
            self._told = time.monotonic()
            for name, (_, work, _) in self._running.items():
                self._say(f"{name}: {_last_line(work.log)}")
        return bool(self._running)

    def end(self) -> None:
        """Asks what still runs to save and end, and waits for it."""
        for _, _, process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for _, _, process in self._running.values():
            process.wait()

    def _after(self, name: str, lap: Lap, work: Work, code: int) -> None:
        if code:
            self.failed.append(f"{name}: {work.title} ended with code {code}; {work.log} says why")
            self._say(self.failed[-1])
        else:
            self._next(name, lap)

    def _next(self, name: str, lap: Lap) -> None:
        work = next(lap, None)
        if work is None:
            done = self._total - len(self._waiting) - len(self._running)
            self._say(f"{name}: done ({done} of {self._total})")
            return
        self._say(f"{name}: {work.title}")
        self._running[name] = lap, work, self._start(work)


def _ended(work: Work, process: Started) -> int | None:
    """The exit code of a program that has ended, or is ended now since it has done enough."""
    code = process.poll()
    if code is None and work.enough():
        process.send_signal(signal.SIGTERM)  # it saves, and ends well
        return process.wait()
    return code


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-1:] if log.exists() else []
    return lines[0].strip() if lines else "no words yet"
