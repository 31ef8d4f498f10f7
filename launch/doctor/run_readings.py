"""What a run's files say about how it goes, read once for all diagnoses."""

from __future__ import annotations

import math
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from launch.cluster.queue import Queue
from launch.cluster.run_states import RunState, run_state
from launch.doctor.labels import LabelSignal, label_signal
from pipeline.config.load import read_dump
from pipeline.config.run import RunConfig
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.evaluation.results import Result, read_results
from pipeline.reading import read_json, read_lines
from pipeline.storage.job import Job, read_job
from pipeline.storage.log import LOG, log_entry
from pipeline.storage.runs import CONFIG, DATA

Tick = Mapping[str, float]
Course = Sequence[tuple[int, float]]
"""A figure's course: (images seen, value) of each tick that has it."""
_MOST_TICKS = 50_000
DATA_WAIT = "speed/data_wait_share"
"""The share of a tick's time that training waited for images, if the log has it."""


@dataclass(frozen=True)
class RunReadings:
    """What diagnoses look at.

    ticks: the log's entries, their numbers alone. results: of evaluations, by images seen. images: how many
    the data set has. labels: whether its classes show in its images; None where that was not looked at.
    free_bytes: of the disk. checkpoint_bytes: of the newest checkpoint. faults: what could not be read.
    """

    run: Path
    ticks: Sequence[Tick] = ()
    config: RunConfig | None = None
    job: Job | None = None
    state: RunState = field(default_factory=lambda: RunState(""))
    results: Sequence[Result] = ()
    images: int | None = None
    labels: LabelSignal | None = None
    free_bytes: int | None = None
    checkpoint_bytes: int = 0
    faults: Sequence[str] = ()

    def course(self, key: str) -> Course:
        """The finite values of a figure."""
        return [
            (int(tick["images_seen"]), tick[key])
            for tick in self.ticks
            if key in tick and math.isfinite(tick[key])
        ]

    def late(self, key: str) -> float | None:
        """The median of a figure over the last third of its ticks; None if there is none."""
        return middle(last_third(self.course(key)))

    @property
    def seen(self) -> int:
        """Images seen at the last tick."""
        return int(self.ticks[-1]["images_seen"]) if self.ticks else 0

    @property
    def passes(self) -> float | None:
        """How often each image has been seen, on average."""
        return self.seen / self.images if self.images else None


def last_third(course: Course) -> Course:
    """At least the last entry."""
    return course[-max(len(course) // 3, 1) :]


def middle(course: Course) -> float | None:
    """The median of the values."""
    return median(value for _, value in course) if course else None


def since(course: Course, holds: Callable[[float], bool]) -> tuple[int, int] | None:
    """(images seen, ticks) since when a condition has held without a break, up to the last tick; None if it
    does not hold there."""
    held: list[int] = []
    for images, value in reversed(course):
        if not holds(value):
            break
        held.append(images)
    return (held[-1], len(held)) if held else None


def read_run(run: Path, queue: Queue | None = None, *, look_at_data: bool = True) -> RunReadings:
    """Reads a run's folder. What cannot be read is among the faults. look_at_data: also at the images of the
    data set, if it is there and has classes that the run trains on."""
    faults: list[str] = []
    config = _config(run, faults)
    state = run_state(run, queue or Queue(None))
    index = _index(config, faults) if look_at_data else None
    return RunReadings(
        run,
        ticks=_ticks(run, faults),
        config=config,
        job=_job(run),
        state=state,
        results=read_results(run, faults.append),
        images=index.count if index is not None else _count(run),
        labels=_labels(config, index, faults),
        free_bytes=shutil.disk_usage(run).free,
        checkpoint_bytes=_checkpoint_bytes(run),
        faults=list(dict.fromkeys([*state.damaged, *faults])),
    )


def _config(run: Path, faults: list[str]) -> RunConfig | None:
    if not (run / CONFIG).exists():
        return None
    try:
        return read_dump(run / CONFIG)
    except UserError as error:
        faults.append(str(error).splitlines()[0])
        return None


def _ticks(run: Path, faults: list[str]) -> list[Tick]:
    try:
        entries = (log_entry(line) for line in read_lines(run / LOG))
        return list(deque((_numbers(entry) for entry in entries if entry is not None), _MOST_TICKS))
    except FileNotFoundError:
        return []
    except Damaged as damage:
        faults.append(str(damage))
        return []


def _numbers(entry: Mapping[str, object]) -> Tick:
    return {
        name: value
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _job(run: Path) -> Job | None:
    try:
        return read_job(run)
    except (Damaged, UserError):  # the run's state names it
        return None


def _index(config: RunConfig | None, faults: list[str]) -> ShardIndex | None:
    if config is None or config.data.path is None or not Path(config.data.path).exists():
        return None  # a run may be looked at where its data are not
    try:
        return ShardIndex.read(config.data.path, damaged=config.data.on_damage)
    except (UserError, RunFailed) as error:
        faults.append(str(error))
        return None


def _count(run: Path) -> int | None:
    try:
        content = read_json(run / DATA)
    except (FileNotFoundError, Damaged):
        return None
    count = content.get("count") if isinstance(content, dict) else None
    return count if isinstance(count, int) and count > 0 else None


def _labels(config: RunConfig | None, index: ShardIndex | None, faults: list[str]) -> LabelSignal | None:
    if config is None or index is None or config.data.labels is False or not index.classes:
        return None
    try:
        return label_signal(index)
    except (UserError, RunFailed) as error:
        faults.append(str(error))
        return None


def _checkpoint_bytes(run: Path) -> int:
    folders = sorted((run / "checkpoints").glob("[0-9]*"))
    return sum(_sizes(folders[-1])) if folders else 0


def _sizes(folder: Path) -> Iterator[int]:
    for path in folder.iterdir():
        if path.is_file():
            yield path.stat().st_size
