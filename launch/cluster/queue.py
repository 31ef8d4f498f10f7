"""What SLURM's queue says now."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FORMAT = "%i|%A|%T|%r|%P|%k"
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Queued:
    """A job in the queue: its number (of an array's task 12_3), its state in SLURM's word (PENDING, RUNNING,
    ...), why it waits (None: no reason), its partition and its comment."""

    job_id: str
    state: str
    reason: str | None
    partition: str
    comment: str

    @property
    def purpose(self) -> tuple[str, Path] | None:
        """Kind and folder, of a job of `hrgan submit`."""
        match = re.fullmatch(r"hrgan (train|evaluate|generate|prepare|encode) (/.*)", self.comment)
        return (match[1], Path(match[2])) if match else None

    def __str__(self) -> str:
        kind = self.purpose[0] if self.purpose else "job"
        return f"{kind} {self.job_id} {self.state.lower()}" + (f" ({self.reason})" if self.reason else "")


class Queue:
    """All jobs that the queue knows, by either of their numbers. `fault`: why it could not be asked."""

    def __init__(self, jobs: dict[str, Queued] | None, fault: str | None = None) -> None:
        self._jobs = jobs or {}
        self.known = jobs is not None
        self.fault = fault

    def find(self, job_id: str | None) -> Queued | None:
        """The job, if it waits or runs."""
        return self._jobs.get(job_id) if job_id is not None else None

    def all(self) -> list[Queued]:
        """Each job once, by its number."""
        return sorted(
            set(self._jobs.values()), key=lambda job: [int(n) for n in re.findall(r"\d+", job.job_id)]
        )

    def of(self, folder: Path) -> list[Queued]:
        """Those that `hrgan submit` has submitted for this folder."""
        return [job for job in self.all() if job.purpose is not None and job.purpose[1] == folder.resolve()]


def ask_queue() -> Queue:
    """Asks squeue; a machine without it, or a controller that does not answer, gives an unknown queue."""
    if shutil.which("squeue") is None:
        return Queue(None)
    command = ["squeue", "--all", "--array", "--noheader", f"--format={_FORMAT}"]
    # Filters that a person has set for squeue would make jobs look as if they were gone.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(
            command, env=plain, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Queue(None, f"squeue: {str(error).splitlines()[0]}")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        return Queue(None, said[-1])
    return Queue(parse_queue(done.stdout))


def parse_queue(text: str) -> dict[str, Queued]:
    """The lines of squeue in `_FORMAT`; others are passed over."""
    jobs: dict[str, Queued] = {}
    for line in text.splitlines():
        parts = line.split("|", 5)
        if len(parts) == 6:
            shown, plain, state, reason, partition, comment = parts
            jobs[shown] = Queued(shown, state, None if reason in ("None", "") else reason, partition, comment)
            jobs.setdefault(plain, jobs[shown])
    return jobs
