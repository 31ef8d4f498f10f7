"""Which snapshots to evaluate: one, a run's newest, all that lack results, or each as it appears."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from pipeline.config.load import read_dump
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.results import Result, read_results, run_of
from pipeline.evaluation.table import results_table
from pipeline.storage.job import JOB
from pipeline.storage.runs import CONFIG
from pipeline.storage.snapshots import Snapshot, list_snapshots, open_snapshot

Scope = Literal["newest", "all", "watch"]
POLL_SECONDS = 20.0


def evaluate_target(
    job: EvaluationJob,
    target: Path,
    scope: Scope,
    report: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> list[Result]:
    """Evaluates what `target` (a snapshot or a run) and `scope` mean; reports the run's table.

    newest: of a run, its newest snapshot, and the untrained one too, for without it no figure says how
    much was learnt. all: every snapshot of the run. watch: all, and then each new one, until the run's
    length is reached (or the command is stopped: a result that stands is not measured again); a run that was
    submitted and has not begun is waited for.
    """
    results, last = [], None
    for last in _snapshots(target, scope, sleep):
        results.append(job.evaluate(last))
        if scope == "watch":
            report(_table(last, results[-1]))
    if last is not None and scope != "watch":
        report(_table(last, results[-1]))
    return results


def _snapshots(target: Path, scope: Scope, sleep: Callable[[float], None]) -> Iterator[Snapshot]:
    if scope == "watch" and is_run(target):
        yield from _as_they_appear(target, sleep)
        return
    first = open_snapshot(target)
    if first.folder == target or not list_snapshots(target):
        yield first
    else:
        folders = list_snapshots(target)
        ends = (_untrained(folders), folders[-1])
        yield from (open_snapshot(folder) for folder in folders if scope == "all" or folder in ends)


def is_run(target: Path) -> bool:
    """True of a run, also of one that has been submitted and has written nothing yet."""
    return bool(list_snapshots(target)) or (target / CONFIG).is_file() or (target / JOB).is_file()


def _untrained(folders: list[Path]) -> Path | None:
    return next((folder for folder in folders if int(folder.name) == 0), None)


def _as_they_appear(run: Path, sleep: Callable[[float], None]) -> Iterator[Snapshot]:
    done: set[Path] = set()
    while True:
        new = [folder for folder in list_snapshots(run) if folder not in done]
        for folder in new:
            done.add(folder)
            yield open_snapshot(folder)
        if not new:
            if _is_finished(run, done):
                return
            sleep(POLL_SECONDS)


def _is_finished(run: Path, done: set[Path]) -> bool:
    """Whether the last snapshot that the run's configuration promises is among `done`."""
    if not (run / CONFIG).is_file():
        return not (run / JOB).is_file()  # its job will write it
    return max((int(folder.name) for folder in done), default=-1) >= read_dump(run / CONFIG).length.images


def _table(snapshot: Snapshot, result: Result) -> str:
    run = run_of(snapshot)
    return results_table([result] if run is None else read_results(run))
