"""Jobs for SLURM, written and submitted by submitit.

submitit's own way of running a function is not taken: its task pickles the function, and puts handlers of
its own on USR2 and TERM, which the training process must get itself (a save is a matter of all ranks, and
its handler would save on the first alone). So its executor writes the options, submits, and names the files;
what the script runs is the plain command, as a person would type it.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env

from pipeline.config.cluster import ClusterConfig
from pipeline.errors import RunFailed, UserError

CommandName = Literal["train", "evaluate", "generate", "prepare", "encode"]
_LIMIT_STATUS = 128 + 12  # ended by USR2, which SLURM sends before the limit
_WRONG = ("invalid", "unrecognized", "requested", "violates")  # in what sbatch says to a wrong option


@dataclass(frozen=True)
class JobCommand:
    """One command of `hrgan` that a job runs.

    arguments: its own, after `hrgan`. typed: the same as the person gave them. jobs: the folder for what its
    processes print. run: of a training, which goes back into the queue when it is stopped.
    """

    arguments: tuple[str, ...]
    typed: tuple[str, ...]
    jobs: Path
    run: Path | None = None


@dataclass(frozen=True)
class Submission:
    """One job or, with several commands, one array of jobs.

    folder: of the script and of its own output. nodes, tasks: of each job; tasks are processes on each node.
    after: a job that must have ended well before this one starts. each: task i of this array waits for task i
    of that array instead of for all of it. copies: jobs of an array that all run the one command. gpus:
    whether it needs those of the cluster file.
    """

    name: CommandName
    job_name: str
    commands: tuple[JobCommand, ...]
    folder: Path
    cluster: ClusterConfig
    nodes: int
    tasks: int
    after: str | None = None
    each: bool = False
    copies: int = 1
    gpus: bool = True

    @property
    def jobs(self) -> int:
        """How many jobs there are; several are an array."""
        return max(len(self.commands), self.copies)

    @property
    def comment(self) -> str:
        """By which `hrgan runs` knows the job in the queue."""
        return f"hrgan {self.name} {self.folder.parent.resolve()}"

    @property
    def share(self) -> float:
        """Of a node's GPUs and memory, as the cluster file has them for a training."""
        return min(self.tasks / self.cluster.tasks, 1.0)


def script(submission: Submission) -> str:
    """The text that would be given to sbatch."""
    return _executor(submission)._make_submission_file_text(_command(submission), "")


def submit(submission: Submission) -> str:
    """Gives the job to SLURM and returns its number. UserError or RunFailed with what sbatch said."""
    submission.folder.mkdir(parents=True, exist_ok=True)
    executor = _executor(submission)
    try:
        with _outside_jobs(), redirect_stderr(StringIO()):  # submitit prints what its error says again
            return str(executor._submit_command(_command(submission)).job_id)
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(line.removeprefix("sbatch: ").strip() for line in str(error).splitlines())
        wrong = any(word in said.lower() for word in _WRONG)
        raise (UserError if wrong else RunFailed)(f"sbatch refused the job: {said}") from error
    finally:
        (submission.folder / f".submission_file_{executor.uid}.sh").unlink(missing_ok=True)


@contextmanager
def _outside_jobs() -> Iterator[None]:
    """A job that is submitted from inside another would take over what that one was given."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    conf = os.environ.get("SLURM_CONF")
    with clean_env():
        if conf is not None:  # this one says which cluster it is
            os.environ["SLURM_CONF"] = conf
        yield


def log_pattern(command: JobCommand, array: bool) -> str:
    """Where each process writes, with SLURM's marks for job (%j or %A_%a) and rank (%t)."""
    return f"{command.jobs.resolve()}/{'%A_%a' if array else '%j'}_%t_log.out"


class _Executor(SlurmExecutor):
    """Writes scripts on machines without SLURM too; `hrgan submit` looks for sbatch before it submits. uid:
    in the name of the file that it gives to sbatch, and leaves."""

    uid = ""

    @classmethod
    def affinity(cls) -> int:
        return 2

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        self.uid = uid
        return super()._make_submission_file_text(command, uid)


def _executor(submission: Submission) -> _Executor:
    cluster, executor = submission.cluster, _Executor(submission.folder)
    gpus = math.ceil(cluster.gpus_per_node * submission.share) if submission.gpus else 0
    given = {
        "job_name": submission.job_name,
        "comment": submission.comment,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "nodes": submission.nodes,
        "ntasks_per_node": submission.tasks,
        "cpus_per_task": cluster.cpus_per_task,
        "gpus_per_node": gpus or None,
        "mem": f"{math.ceil(1024 * cluster.memory_gb * submission.share)}M" if cluster.memory_gb else None,
        "exclusive": True if cluster.exclusive else None,
        "time": cluster.minutes,
        "signal_delay_s": cluster.signal_seconds,
    }
    executor.update_parameters(
        **{name: value for name, value in given.items() if value is not None},
        wckey=None,
        stderr_to_stdout=True,
        use_srun=False,  # the command says srun itself
        setup=_setup(cluster),
        additional_parameters=_further(submission),
    )
    if submission.jobs > 1:
        executor.parameters["map_count"] = submission.jobs
    return executor


def _further(submission: Submission) -> dict[str, str | bool]:
    further: dict[str, str | bool] = {"requeue": True}  # after a node failure
    if submission.after is not None:
        further["dependency"] = f"{'aftercorr' if submission.each else 'afterok'}:{submission.after}"
        further["kill-on-invalid-dep"] = "yes"
    further.update({name: value for name, value in submission.cluster.options.items() if value is not False})
    return further


def _setup(cluster: ClusterConfig) -> list[str]:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in cluster.environment.items()]
    return [*cluster.setup, *exports]


def _command(submission: Submission) -> str:
    """The end of the script, in shell; every word in it that comes from outside is quoted."""
    parts = [_part(command, submission, submission.jobs > 1) for command in submission.commands]
    if len(parts) == 1:
        return "\n".join(parts[0])
    lines = ['case "$SLURM_ARRAY_TASK_ID" in']
    for number, part in enumerate(parts):
        lines += [f"{number})", *(f"  {line}" for line in part), "  ;;"]
    return "\n".join([*lines, "esac"])


def _part(command: JobCommand, submission: Submission, array: bool) -> list[str]:
    cluster = submission.cluster
    srun = [
        *("srun", "--unbuffered", "--kill-on-bad-exit=1", "--open-mode=append"),
        *(f"--cpus-per-task={cluster.cpus_per_task}", f"--output={log_pattern(command, array)}"),
    ]
    run = [*srun, *cluster.container, *_program(cluster), *command.arguments]
    lines = [f"# {shlex.join(('hrgan', *command.typed))}"]
    if command.run is not None:
        settle = shlex.join(
            (sys.executable, "-m", "launch.cluster.requeue", "--run", str(command.run), "--status")
        )
        return [
            *lines,
            f"export HRGAN_REQUEUE={cluster.max_requeues}",
            f"trap {shlex.quote(f'{settle} $?')} EXIT",
            shlex.join(run),
        ]
    return [
        *lines,
        shlex.join(run),
        "status=$?",
        "# Ended by the signal before the time limit: the command continues from what it has finished.",
        f'if [ "$status" = {_LIMIT_STATUS} ] && '
        f'[ "${{SLURM_RESTART_COUNT:-0}}" -lt {cluster.max_requeues} ]; then',
        '  scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        'exit "$status"',
    ]


def _program(cluster: ClusterConfig) -> Sequence[str]:
    if cluster.program:
        return cluster.program
    return ("hrgan",) if cluster.container else (sys.executable, "-m", "launch.main")
