"""The state of a run in a file beside it: what a scheduler's queue forgets, and what a killed process cannot
say."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.reading import checked, read_json, shown
from pipeline.storage.atomic import publish_bytes
from pipeline.versions import Stored

JOB = "job.json"
JOBS = "jobs"
"""Folder in a run for the scripts of its jobs and what they say."""
SETTINGS = "train.yaml"
"""In it: the settings a job was submitted with. The file they came from may change while the job waits."""
FORMAT = Stored(version=1, unstated=1)
State = Literal["pending", "running", "requeued", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class Job:
    """Where a run stands, as the last process that could say so has said.

    state: `pending` and `requeued` wait in a queue; `stopped` was asked to stop and has saved; `failed` says
    why in `reason`. A `running` whose process is gone was killed. job_id: the scheduler's, None without one.
    requeues: how often the job has been put back into the queue. host: of rank 0. updated: seconds since
    1970, set when it is written.
    """

    state: State
    job_id: str | None = None
    requeues: int = 0
    reason: str | None = None
    host: str | None = None
    updated: float = 0.0


def write_job(run: Path, job: Job) -> None:
    """Publishes `job`, stamped with the time, as RUN/job.json."""
    reason = None if job.reason is None else shown(job.reason)
    stamped = replace(job, reason=reason, updated=round(time.time(), 3))
    publish_bytes(run / JOB, (json.dumps(FORMAT.stamped(asdict(stamped)), indent=1) + "\n").encode())


def read_job(run: Path) -> Job | None:
    """What RUN/job.json says; None if there is none. Errors: Damaged, which names the file; UserError if a
    newer version wrote it."""
    path = run / JOB
    try:
        return checked(Job, FORMAT.current(read_json(path), str(path)), str(path))
    except FileNotFoundError:
        return None
