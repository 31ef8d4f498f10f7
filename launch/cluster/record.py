"""What training says of itself in RUN/job.json, for queues and for people."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from launch.failures import failure_line
from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.storage.atomic import move_away
from pipeline.storage.job import JOB, Job, State, read_job, write_job
from pipeline.words import tell

REQUEUE = "HRGAN_REQUEUE"
EXIT_REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: stopped before its end, start it again


def most_requeues(environment: Mapping[str, str] = os.environ) -> int | None:
    """How often a job may be put back into the queue; None: it is not asked for."""
    text = environment.get(REQUEUE)
    if text is None:
        return None
    if not text.isdigit():
        raise UserError(f"{REQUEUE}={text}: must be a number of requeues; allowed: 0 or more")
    return int(text)


def restarts(environment: Mapping[str, str] = os.environ) -> int:
    """How often SLURM has started this job again."""
    return int(environment.get("SLURM_RESTART_COUNT") or 0)


def here(state: State, reason: str | None = None) -> Job:
    """The job that this process belongs to."""
    # As heartbeats have it; without torch, for the end of a batch script.
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    return Job(state, os.environ.get("SLURM_JOB_ID"), restarts(), reason, host)


@contextmanager
def recorded(run: Path) -> Iterator[None]:
    """Says `running`, and `failed` with the first line of whatever is raised."""
    make_way(run)
    try:
        write_job(run, here("running"))
        yield
    except BaseException as error:
        record_failure(run, _reason(error))
        raise


def make_way(run: Path) -> None:
    """Moves a damaged job.json aside, with a word: the run is what its checkpoints are."""
    try:
        read_job(run)
    except Damaged as damage:
        kept = move_away(run / JOB)
        line = f"hrgan: warning: {damage}; the run goes on without it (it is kept as {kept.name})"
        tell(line)


def _reason(error: BaseException) -> str:
    """The first line of an error, with its type where the line alone would be a riddle."""
    lines = (failure_line(error, ("train",)) or str(error)).splitlines() or [
        "interrupted" if isinstance(error, KeyboardInterrupt) else ""
    ]
    known = isinstance(error, UserError | RuntimeError | OSError | MemoryError) and lines[0]
    return lines[0] if known else f"{type(error).__name__}: {lines[0]}".rstrip(": ")


def record_end(run: Path, stopped_by: str | None, ended_by: str | None = None) -> None:
    """Says `finished`, and why if before its length; or `stopped` and by what."""
    write_job(run, here("finished", ended_by) if stopped_by is None else here("stopped", stopped_by))


def record_failure(run: Path, reason: str) -> None:
    """Says `failed`, from any rank. The first reason stays: others follow from it. Never raises: the disk
    may be what failed."""
    with suppress(OSError, UserError, RunFailed):
        job = read_recorded(run) or here("running")
        if job.state != "failed":
            write_job(run, replace(job, state="failed", reason=reason))


def read_recorded(run: Path) -> Job | None:
    """What job.json says; None if there is none or it is damaged."""
    with suppress(Damaged):
        return read_job(run)
    return None
