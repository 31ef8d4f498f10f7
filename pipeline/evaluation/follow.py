"""Which snapshots to evaluate: a given one, a run's newest, all that lack results, or each as it appears; or
a data set.

Any number of jobs may evaluate one run: each snapshot is claimed by one of them, and if that job dies,
another takes it over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config.load import read_dump
from pipeline.config.run import StopConfig
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.best import find_ending, mark_best
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.results import RESULTS, Result, read_results, run_of
from pipeline.evaluation.sources import is_data, open_measured
from pipeline.evaluation.table import results_table
from pipeline.storage.claims import Claim, Claims
from pipeline.storage.ending import ask_to_end, asked_to_end
from pipeline.storage.job import JOB, read_job
from pipeline.storage.runs import CONFIG
from pipeline.storage.snapshots import Snapshot, list_snapshots, open_snapshot

Scope = Literal["newest", "all", "watch"]
POLL_SECONDS = 20.0
_STOPPED_SECONDS = 600.0
_CONCLUDING = "concluding"


@dataclass(frozen=True)
class Turn:
    """What all processes of a job do next. `folder` holds the snapshot or data set to evaluate."""

    do: Literal["evaluate", "wait", "end"]
    folder: Path | None = None


def evaluate_target(
    job: EvaluationJob,
    target: Path,
    scope: Scope,
    report: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    poll_seconds: float = POLL_SECONDS,
) -> list[Result]:
    """Evaluates what `target` (a snapshot, a run or a data set) and `scope` select, reports the table of
    results, and returns the results on the first process.

    Of a run, `newest` selects the newest snapshot and the untrained one, without which no figure says how
    much was learnt; `all` selects every snapshot; `watch` selects every snapshot and then each new one, until
    the run is finished or the command is stopped. Results that exist are not measured again. A run that was
    submitted and has not begun is waited for.
    """
    peers, results, complain = job.peers, list[Result](), _once(report)
    if peers.rank == 0:
        job.sweep(target)
    turns = Turns(target, scope, job.result_path) if peers.rank == 0 else None
    last = None
    while True:
        turn = peers.from_first(turns.next() if turns is not None else Turn("end"))
        if turn.do == "end":
            break
        if turn.do == "wait" or turn.folder is None:
            if peers.rank == 0:
                sleep(poll_seconds)
            continue
        last = open_measured(turn.folder)
        try:
            result = job.evaluate(last)
        finally:
            if turns is not None:
                turns.release()
        if result is not None:
            results.append(result)
            if isinstance(last, Snapshot):
                _conclude(last, job, report)
            if scope == "watch":
                report(_table(last, result, complain))
    if last is not None and results and scope != "watch":
        report(_table(last, results[-1], complain))
    return results


class Turns:
    """Finds the next snapshot that nobody else is working on, and holds its claim until `release`.
    `result_path` maps a snapshot's folder to the file of its result."""

    def __init__(self, target: Path, scope: Scope, result_path: Callable[[Path], Path]) -> None:
        self._target, self._done, self._result_path = target, set[Path](), result_path
        self._claim: Claim | None = None
        check_scope(target, scope)
        self._watches = scope == "watch" and not _is_snapshot(target, scope)
        # Without watch the list is fixed now: a run may write snapshots faster than they are measured.
        self._asked = () if self._watches else _asked(target, scope)

    def next(self) -> Turn:
        """The next unclaimed snapshot, now claimed; or a turn that says to wait or to end."""
        finished = not self._watches or is_finished(self._target)
        folders = list_snapshots(self._target) if self._watches else self._asked
        left = [folder for folder in folders if folder not in self._done]
        for folder in left:
            if self._take(folder):
                self._done.add(folder)
                return Turn("evaluate", folder)
        return Turn("wait") if left or not finished else Turn("end")

    def release(self) -> None:
        """Gives up the claim of the last snapshot."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _take(self, folder: Path) -> bool:
        # Even if nothing is left to measure, its curves have to be written once.
        path = self._result_path(folder)
        self._claim = Claims(path.parent).take(path.stem)
        return self._claim is not None


def check_scope(target: Path, scope: Scope) -> None:
    """Raises UserError if snapshots of a data set are asked for."""
    if is_data(target) and scope != "newest":
        raise UserError(f"--{scope}: selects a run's snapshots, and {target} is a data set; leave it out")


def is_run(target: Path) -> bool:
    """Whether `target` is a run, even one that was submitted and has not written anything yet."""
    return bool(list_snapshots(target)) or (target / CONFIG).is_file() or (target / JOB).is_file()


def is_finished(run: Path) -> bool:
    """Whether no more snapshots of `run` are expected: its state says so, or the last snapshot of its
    configured length exists. A run that was stopped is given ten minutes to be started again."""
    try:
        job = read_job(run)
    except Damaged as damage:
        raise UserError(f"{damage}; remove it, or correct it") from damage
    if job is not None and job.state in ("finished", "failed"):
        return True
    if job is not None and job.state == "stopped" and time.time() - job.updated > _STOPPED_SECONDS:
        return True
    if not (run / CONFIG).is_file():
        return job is None  # its job will write it
    length = read_dump(run / CONFIG).length.images
    return any(int(folder.name) >= length for folder in list_snapshots(run))


def _asked(target: Path, scope: Scope) -> Sequence[Path]:
    """The snapshots that exist now and are selected, or the data set."""
    if is_data(target):
        return [target]
    if _is_snapshot(target, scope):
        return [open_snapshot(target).folder]
    folders = list_snapshots(target)
    if scope == "all":
        return folders
    return sorted({*(folder for folder in folders if int(folder.name) == 0), folders[-1]})


def _is_snapshot(target: Path, scope: Scope) -> bool:
    """Whether `target` is a single snapshot. UserError if it is neither a snapshot nor a run; a run without
    snapshots can be watched."""
    if scope == "watch" and is_run(target):
        return False
    return open_snapshot(target).folder == target or not list_snapshots(target)


def _conclude(snapshot: Snapshot, job: EvaluationJob, report: Callable[[str], None]) -> None:
    """Updates the run's best snapshot, and asks the run to end if it has stopped improving."""
    run = run_of(snapshot)
    if run is None:
        return
    stop = read_dump(run / CONFIG).stop if (run / CONFIG).is_file() else StopConfig()
    metric = stop.metric if stop.metric is not None else job.ranking
    with Claims(run / RESULTS).wait_for(_CONCLUDING):
        if metric is not None:
            mark_best(run, metric)
        ending = find_ending(read_results(run), stop)
        # A snapshot that is still to be measured may be better.
        if ending is not None and _all_measured(run, ending.metric) and asked_to_end(run, stop) is None:
            ask_to_end(run, ending)
            report(f"asked the run to end: {ending.reason}")


def _all_measured(run: Path, metric: str) -> bool:
    measured = {result.images_seen for result in read_results(run) if metric in result.metrics}
    return all(int(folder.name) in measured for folder in list_snapshots(run))


def _once(report: Callable[[str], None]) -> Callable[[str], None]:
    """Wraps `report` so that each line is reported only once."""
    told = set[str]()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            report(line)

    return tell


def _table(what: Snapshot | ShardIndex, result: Result, report: Callable[[str], None]) -> str:
    run = run_of(what) if isinstance(what, Snapshot) else None
    return results_table([result] if run is None else read_results(run, report))
