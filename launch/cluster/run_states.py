"""How each run stands, from its files and the queue alone. Whatever cannot be read is named, and the rest
goes on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.cluster.queue import Queue, Queued
from pipeline.config.sources import read_section
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.metrics.registry import about, base_of, by_name
from pipeline.reading import checked, open_file, read_json
from pipeline.storage.job import JOB, JOBS, SETTINGS, Job, read_job
from pipeline.storage.lineage import run_lineage
from pipeline.storage.log import LOG, log_entry
from pipeline.storage.manifest import MANIFEST
from pipeline.storage.positions import is_position

_PARTS = ("checkpoints", "snapshots", "averages", "samples", "metrics", "tensorboard", "heartbeats", JOBS)
_MARKS = (JOB, "config.yaml", LOG)  # a folder with one of them is a run
_DEPTH = 4
_MOST_IMAGES = 10**18
_TAIL = 65_536  # bytes of a log that are read
_SPEED_LINES = 5
_GONE_SECONDS = 60.0  # the queue does not know a job that says it is running
_LEFT_SECONDS = 6.0  # or one that says it waits
_SILENT_SECONDS = 900.0  # no queue to ask
_SILENT_TICKS = 5


@dataclass
class RunState:
    """One run. state: pending, requeued (waiting again), running, stopped, finished, failed, cancelled (left
    the queue before it began), died (was running, and is gone without a word) or new (nothing done yet).

    waits: why its job waits. seconds_left: of a running one. metrics: value by name, measured at metrics_at
    images. lineage: the runs that it goes on from, oldest first. jobs: further jobs in the queue that belong
    to it. damaged: files that could not be read, and why.
    """

    run: str
    state: str = "new"
    reason: str | None = None
    waits: str | None = None
    job_id: str | None = None
    requeues: int = 0
    images_seen: int = 0
    images_total: int | None = None
    seconds_per_kimg: float | None = None
    seconds_left: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_at: int | None = None
    lineage: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def find_runs(folder: Path) -> Iterator[Path]:
    """`folder`, if it is a run, and all runs below it, by name."""
    yield from folders_below(folder, _MARKS)


def is_run(folder: Path) -> bool:
    """Whether `folder` itself is a run."""
    return _holds(folder, _MARKS)


def _holds(folder: Path, marks: Sequence[str]) -> bool:
    return any(os.path.lexists(folder / name) for name in marks)


def folders_below(folder: Path, marks: Sequence[str], depth: int = 0) -> Iterator[Path]:
    """`folder` and those below it, by name, that hold one of the `marks`."""
    if _holds(folder, marks):
        yield folder
    if depth == _DEPTH:
        return
    try:
        inner = sorted(Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for path in inner:
        if path.name not in _PARTS and not path.name.startswith("."):
            yield from folders_below(path, marks, depth + 1)


def run_state(run: Path, queue: Queue, now: float | None = None) -> RunState:
    """How `run` stands. now: seconds since 1970."""
    now = time.time() if now is None else now
    state = RunState(str(run))
    lines = _log(run, state)
    state.images_total = _total(run, state)
    logged = [line["images_seen"] for line in lines[-1:]]
    state.images_seen = max(0, *logged, *_saved(run, "checkpoints"), *_saved(run, "snapshots"))
    state.seconds_per_kimg = _speed(lines)
    state.lineage = list(map(str, run_lineage(run)))
    _newest_metrics(run, state)
    _say_state(run, state, lines, queue, now)
    if state.state == "running" and state.seconds_per_kimg and state.images_total:
        left = max(state.images_total - state.images_seen, 0)
        state.seconds_left = round(left * state.seconds_per_kimg / 1000, 1)
    return state


def _say_state(run: Path, state: RunState, lines: list[dict[str, Any]], queue: Queue, now: float) -> None:
    job = _job(run, state)
    queued = queue.find(job.job_id) if job is not None else None
    if job is not None:
        state.job_id, state.requeues, state.reason = job.job_id, job.requeues, job.reason
    state.jobs = [str(other) for other in queue.of(run) if other != queued]
    if queued is None and not _own(run):
        queue = Queue(None)  # a cluster may hide the jobs of others
    if queued is not None and queued.state == "PENDING":
        state.waits = queued.reason
    silent = now - _last_sign(run, job)
    whole = state.images_total is not None and max(_saved(run, "checkpoints")) >= state.images_total
    state.state = _judged(state, whole, job, queued, queue, silent, _patience(job, lines, queue))


def _own(run: Path) -> bool:
    """Whether the job is this user's, or this user sees all."""
    try:
        return os.getuid() in (0, (run / JOB).stat().st_uid)
    except OSError:
        return True


def _judged(
    state: RunState,
    whole: bool,
    job: Job | None,
    queued: Queued | None,
    queue: Queue,
    silent: float,
    patience: float,
) -> str:
    """One word, from what the run says of itself and what the queue knows. whole: its end is saved."""
    if queued is not None and queued.state == "PENDING":  # whatever it said when SLURM put it back
        return "requeued" if state.requeues or state.images_seen else "pending"
    if queued is not None and (job is None or job.state in ("pending", "running", "requeued")):
        return "running"
    if whole:
        return "finished"
    if job is None:
        return ("running" if silent < patience else "stopped") if state.images_seen else "new"
    if job.state in ("pending", "requeued"):
        gone = job.job_id is not None and queue.known and silent > _LEFT_SECONDS
        return "cancelled" if gone else job.state
    if job.state == "running":
        return "running" if silent < patience else "died"
    return "stopped" if job.state == "finished" else job.state  # its length was extended since


def _patience(job: Job | None, lines: list[dict[str, Any]], queue: Queue) -> float:
    """Seconds without a sign after which a run that says it is running counts as gone."""
    if queue.known and job is not None and job.job_id is not None:
        return _GONE_SECONDS  # the queue does not know the job any more
    times = [line["time"] for line in lines[-2:] if isinstance(line.get("time"), int | float)]
    tick = times[1] - times[0] if len(times) == 2 else 0.0
    return max(_SILENT_SECONDS, _SILENT_TICKS * tick)


def _last_sign(run: Path, job: Job | None) -> float:
    """When the run last wrote anything."""
    paths = [run / LOG, run / "checkpoints", run / "snapshots", *(run / "heartbeats").glob("*.json")]
    times = [job.updated] if job is not None else []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)


def _job(run: Path, state: RunState) -> Job | None:
    try:
        return read_job(run)
    except (Damaged, UserError) as damage:  # of a newer version: the other runs are shown all the same
        state.damaged.append(str(damage))
    return None


def _log(run: Path, state: RunState) -> list[dict[str, Any]]:
    """The last lines of the log. One that is being written, or was cut short by a kill, is no damage."""
    path = run / LOG
    try:
        with open_file(path) as file:
            start = max(file.seek(0, os.SEEK_END) - _TAIL, 0)
            file.seek(start)
            text = file.read()
    except FileNotFoundError:
        return []
    except Damaged as damage:
        state.damaged.append(str(damage))
        return []
    whole = text.split(b"\n")[1 if start else 0 : -1]
    if start and not whole:
        state.damaged.append(f"{path}: its last line has more than {_TAIL} bytes")
    lines = [line for line in map(log_entry, whole) if line is not None]
    if len(lines) < len(whole):
        state.damaged.append(
            f"{path}: {len(whole) - len(lines)} of its last {len(whole)} lines are none of a log"
        )
    return lines


def _total(run: Path, state: RunState) -> int | None:
    for path in (run / "config.yaml", run / JOBS / SETTINGS):
        if not os.path.lexists(path):
            continue
        try:
            # The whole schema takes a tenth of a second a run, and says nothing more about the length.
            length = read_section(path, "length")
        except UserError as error:
            state.damaged.append(str(error))
            continue
        images = length.get("images") if isinstance(length, dict) else None
        if type(images) is int and abs(images) < _MOST_IMAGES:
            return images
        state.damaged.append(f"{path}: length.images cannot be read")
    return None


def _saved(run: Path, name: str) -> list[int]:
    """Images seen at each checkpoint or snapshot that is whole, and -1."""
    folders = (run / name).glob("[0-9]*")
    whole = (path for path in folders if is_position(path.name) and os.path.isfile(path / MANIFEST))
    return [-1, *(int(path.name) for path in whole)]


def _speed(lines: list[dict[str, Any]]) -> float | None:
    """Mean seconds a thousand images of the last ticks, which may be of different length."""
    known = [line.get("speed/seconds_per_kimg") for line in lines[-_SPEED_LINES:]]
    speeds = [s for s in known if isinstance(s, int | float) and 0 < s < math.inf]
    return round(sum(speeds) / len(speeds), 4) if speeds else None


def _newest_metrics(run: Path, state: RunState) -> None:
    paths = [path for path in (run / "metrics").glob("[0-9]*.json") if is_position(path.stem)]
    for path in sorted(paths, key=lambda path: int(path.stem), reverse=True):
        try:
            body = checked(dict[str, Any], read_json(path), str(path))
            figures = {name: _figures(name, values) for name, values in by_name(body["metrics"]).items()}
            images = int(body["images_seen"])
        except FileNotFoundError:
            continue
        except Damaged as damage:
            state.damaged.append(str(damage))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            state.damaged.append(f"{path}: not a result file")
        else:
            state.metrics = {name: value for part in figures.values() for name, value in part.items()}
            state.metrics_at = images
            return


def _figures(name: str, values: Mapping[str, Any]) -> dict[str, float]:
    extractor, parts = name.removeprefix(base_of(name)), about(name).parts
    if parts == ("value",):
        return {name: float(values["value"])}
    return {f"{key}{extractor}": float(values[key]) for key in parts}
