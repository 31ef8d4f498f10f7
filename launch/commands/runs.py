"""`hrgan runs`: how all runs of a folder stand."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import words
from pipeline.errors import UserError
from pipeline.reading import shown

if TYPE_CHECKING:
    from launch.cluster.queue import Queue
    from launch.cluster.run_states import RunState

_HEADS = ("run", "state", "images", "of", "s/kimg", "left", "metrics", "job", "waits for")


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run, or a folder of runs.")] = Path(
        "runs"
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Show the table again every SECONDS, until Ctrl-C."),
    ] = None,
) -> int:
    """Show all runs of a folder: state, speed, metrics, job.

    Data sets that are being prepared are shown too. It reads the files in the folder and, where there is one,
    SLURM's queue; whoever can read them can ask.

    \b
    Examples:
      hrgan runs
      hrgan runs runs/faces --watch 10
      hrgan runs out --json
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; allowed: a run, or a folder of runs")
    while True:
        text = _look(folder, as_json)
        if watch is not None and not as_json:
            typer.echo("\033[2J\033[H", nl=False)
        typer.echo(text)
        if watch is None:
            return 0
        try:
            time.sleep(watch)
        except KeyboardInterrupt:
            return 0


def _look(folder: Path, as_json: bool) -> str:
    from launch.cluster.data_sets import data_set_states
    from launch.cluster.queue import ask_queue
    from launch.cluster.run_states import find_runs, run_state

    queue = ask_queue()
    below = list(find_runs(folder))
    states = [run_state(run, queue) for run in below]
    arrays = {parent: jobs for run in below if (jobs := _waiting(parent := run.parent, below, queue))}
    data_sets = data_set_states(folder, queue)
    if as_json:
        report = {
            "queue": queue.known,
            "fault": queue.fault,
            "runs": [asdict(state) for state in states],
            "arrays": {str(parent): jobs for parent, jobs in arrays.items()},
            "data_sets": [asdict(state) for state in data_sets],
        }
        return json.dumps(report)  # in ASCII: names may be bytes that no terminal can show
    made = [shown(str(state)) for state in data_sets]
    return "\n".join([*made, *([table(states, queue, str(folder), arrays)] if states or not made else [])])


def _waiting(parent: Path, runs: Sequence[Path], queue: Queue) -> list[str]:
    """Jobs of an array for the runs of a sweep, which are not the trainings that the runs' rows show."""
    if parent in runs:
        return []
    return [str(job) for job in queue.of(parent) if job.purpose is not None and job.purpose[0] != "train"]


def table(
    states: Sequence[RunState], queue: Queue, folder: str, arrays: Mapping[Path, Sequence[str]] | None = None
) -> str:
    """A line a run, and under it what a person should know besides. arrays: further jobs by folder."""
    notes = [f"queue: {queue.fault}; states are from files alone"] if queue.fault else []
    for state in states:
        if state.reason and state.state in ("failed", "stopped", "requeued"):
            notes.append(f"{state.run}: {state.state}: {state.reason}")
        notes += [f"{state.run}: {line}" for line in (*state.lineage, *state.jobs)]
        notes += [f"damaged: {fault}" for fault in state.damaged]
    notes += [f"{parent}: {job}" for parent, jobs in (arrays or {}).items() for job in jobs]
    if not states:
        return "\n".join([shown(f"{folder}: no runs"), *map(shown, notes)])
    rows = [_row(state) for state in states]
    return "\n".join([words.table(rows, _HEADS), *([""] if notes else []), *map(shown, notes)])


def _row(state: RunState) -> tuple[str, ...]:
    figures = " ".join(f"{name} {value:.4g}" for name, value in state.metrics.items())
    at = f" at {_short(state.metrics_at)}" if state.metrics_at is not None else ""
    requeues = f" ({state.requeues} requeues)" if state.requeues else ""
    left = state.seconds_left
    return (
        state.run,
        state.state,
        _short(state.images_seen),
        _short(state.images_total),
        f"{state.seconds_per_kimg:.3g}" if state.seconds_per_kimg is not None else "-",
        str(timedelta(seconds=round(left))) if left is not None else "-",
        f"{figures}{at}" if figures else "-",
        f"{state.job_id}{requeues}" if state.job_id else "-",
        state.waits or "-",
    )


def _short(count: int | None) -> str:
    if count is None:
        return "?"
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if count >= 10 * size or (count >= size and count % size == 0):
            return f"{count / size:.4g}{letter}"
    return str(count)
