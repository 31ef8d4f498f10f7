"""At the end of a batch script: whether the job goes back into the queue, and RUN/job.json says so.

python -m launch.cluster.requeue --run RUN --status CODE

CODE is the exit code of srun. HRGAN_REQUEUE is how often the job may be put back, SLURM_RESTART_COUNT how
often it has been. A run that ends twice in a row at the same checkpoint, without having been asked to stop,
is not started a third time.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from launch.cluster.record import EXIT_REQUEUE, here, make_way, most_requeues, read_recorded, restarts
from pipeline.errors import Damaged, UserError
from pipeline.reading import read_text
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.job import JOBS, Job, write_job
from pipeline.storage.positions import numbered_folders
from pipeline.words import note

CRASH = f"{JOBS}/crash"
_EXIT_WRONG = 2
_SCONTROL_SECONDS = 60


@dataclass(frozen=True)
class End:
    """How a start of the job ended.

    status: of srun. ending: what SLURM calls the reason if it is ending the job itself (`TimeLimit`, or
    `None` after scancel), else None. recorded: what this start has left in job.json. images: of the newest
    checkpoint. crashed_at: images at the crash before, if the start before crashed.
    """

    status: int
    ending: str | None
    recorded: Job | None
    images: int
    crashed_at: int | None

    @property
    def asked(self) -> bool:
        """Whether somebody asked the run to stop; everything else is a crash."""
        # Of ranks that all have saved, srun may still end some when the first has left.
        saved = self.recorded is not None and self.recorded.state == "stopped"
        return saved or self.status in (0, EXIT_REQUEUE) or self.ending is not None

    @property
    def reason(self) -> str:
        """In words: those of the run itself where it had time for some."""
        if self.ending == "TimeLimit":
            return "time limit"
        said = self.recorded.reason if self.recorded is not None else None
        number = self.status - 128
        if number in list(signal.Signals) and not self.asked:
            killed = f"a process was killed by {signal.Signals(number).name}"
            return f"{killed}; {said}" if said else killed
        return said or f"exit code {self.status}"


def decide(
    end: End, most: int | None, restarted: int
) -> tuple[Literal["leave", "requeue", "fail"], str | None]:
    """What to do, and why. most: requeues allowed. restarted: those so far."""
    if end.recorded is not None and end.recorded.state == "finished":
        return "leave", None
    if end.status == 0 and end.ending is None:
        return "leave", None
    if end.ending is not None and end.ending != "TimeLimit":
        return "leave", None  # cancelled, or SLURM puts it back by itself
    if end.status == _EXIT_WRONG:
        return "fail", end.reason
    if not most:
        return "fail", end.reason
    if restarted >= most:
        return "fail", f"{end.reason}; put back {restarted} times, which is all that is allowed"
    if not end.asked and end.crashed_at == end.images:
        return "fail", f"{end.reason}; twice in a row at {end.images} images"
    return "requeue", end.reason


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for wrong usage; the batch script passes CODE on by itself."""
    parser = argparse.ArgumentParser(prog="python -m launch.cluster.requeue", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--status", type=int, required=True, help="exit code of srun")
    options = parser.parse_args(arguments)
    try:
        _settle(options.run, options.status, most_requeues())
    except UserError as error:
        note(f"error: {error}")
        return 2
    return 0


def _settle(run: Path, status: int, most: int | None) -> None:
    job_id = os.environ.get("SLURM_JOB_ID")
    if job_id is None:
        raise UserError(
            "SLURM_JOB_ID: not set; python -m launch.cluster.requeue runs at the end of a batch script"
        )
    make_way(run)
    recorded = read_recorded(run)
    if recorded is not None and recorded.job_id != job_id and recorded.state == "running":
        return  # of another job, which holds the folder now
    if recorded is not None and not _of_this_start(recorded, job_id):
        recorded = None
    end = End(status, _ending(job_id), recorded, _images(run), _crashed_at(run))
    action, reason = decide(end, most, restarts())
    _remember(run, end)
    if action == "leave":
        return
    job = here("failed", reason)
    if action == "requeue":
        job = replace(job, state="requeued", requeues=restarts() + 1)
    # Written first: what is put back is also ended, and this process with it.
    write_job(run, job)
    print(f"hrgan: job {job_id} {job.state} ({job.requeues} of {most or 0}): {reason}", flush=True)
    if action == "requeue":
        complaint = _put_back(job_id)
        if complaint is not None:
            write_job(run, replace(job, state="failed", requeues=restarts(), reason=f"{reason}; {complaint}"))
            note(f"error: {complaint}")


def _of_this_start(recorded: Job, job_id: str) -> bool:
    waited = recorded.state in ("pending", "requeued")  # it never came to say that it runs
    return not waited and (recorded.job_id, recorded.requeues) == (job_id, restarts())


def _put_back(job_id: str) -> str | None:
    """None, or why it did not work."""
    done = _scontrol("requeue", job_id)
    if done is None or done.returncode:
        said = "scontrol does not answer" if done is None else (done.stderr.strip() or "it failed")
        return f"scontrol requeue {job_id}: {said}"
    return None


def _ending(job_id: str) -> str | None:
    """SLURM's reason if it is ending the job by itself, else None."""
    done = _scontrol("show", "job", "-o", job_id)
    match = re.search(r"\bJobState=(\S+) Reason=(\S+)", done.stdout) if done is not None else None
    return None if match is None or match.group(1) == "RUNNING" else match.group(2)


def _scontrol(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["scontrol", *arguments], capture_output=True, text=True, timeout=_SCONTROL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _images(run: Path) -> int:
    folders = numbered_folders(run / "checkpoints")
    return int(folders[-1].name) if folders else 0


def _crashed_at(run: Path) -> int | None:
    try:
        return int(read_text(run / CRASH))
    except (FileNotFoundError, Damaged, ValueError):
        return None


def _remember(run: Path, end: End) -> None:
    with suppress(OSError, UserError):  # what is decided now is more than what the next start will know
        if end.asked:
            (run / CRASH).unlink(missing_ok=True)
        else:
            publish_bytes(run / CRASH, f"{end.images}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
