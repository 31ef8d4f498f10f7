"""Turns commands into jobs: checks them, writes them down, submits them, and reports them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import typer

from launch.assembly import encoding, evaluating, generating
from launch.assembly.training import check_start
from launch.cluster.queue import Queue, ask_queue
from launch.cluster.submission import CommandName, JobCommand, Submission, log_pattern, script, submit
from launch.cluster.sweep import SweepRun, sweep_runs
from launch.options.declared import parsed
from launch.options.encode import EncodeOptions
from launch.options.evaluate import EvaluateOptions
from launch.options.generate import GenerateOptions
from launch.options.prepare import PrepareOptions
from launch.options.submit import (
    JobOptions,
    SubmitEvaluateOptions,
    SubmitOtherOptions,
    SubmitPrepareOptions,
    SubmitTrainOptions,
)
from pipeline.config.load import dump_config, load_cluster, load_config
from pipeline.config.run import RunConfig
from pipeline.data.shards.blocks import refuse_strangers
from pipeline.data.shards.index import read_unfinished
from pipeline.data.sources.opening import source_kind
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.results import run_of
from pipeline.evaluation.sources import is_data
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.job import JOB, JOBS, SETTINGS, Job, read_job, write_job
from pipeline.storage.lock import only_writer
from pipeline.storage.snapshots import Snapshot, list_snapshots, open_snapshot
from pipeline.words import counted, note

BUSY = ("pending", "running", "requeued")
_UNKNOWN = "JOB"  # stands for the number of a job that a dry run does not submit
_evaluate_options = partial(parsed, EvaluateOptions, "hrgan evaluate")


@dataclass(frozen=True)
class Training:
    """One run that a job will train."""

    settings: RunConfig
    run: Path
    arguments: tuple[str, ...]

    def command(self) -> JobCommand:
        """What the job's processes run, with the settings as they are now."""
        jobs = self.run / JOBS
        arguments = ("train", str(jobs / SETTINGS), "--run", str(self.run))
        return JobCommand(arguments, (*self.arguments, "--run", str(self.run)), jobs, self.run)


def submit_training(options: SubmitTrainOptions) -> None:
    """Submits one job or, for a sweep, an array; with `evaluate`, also a job that evaluates after it has
    succeeded."""
    job, run = options.job, options.folder
    cluster = load_cluster(job.cluster)
    trainings = [_training(options, point) for point in sweep_runs(options.sweep)]
    nodes, tasks = job.nodes or cluster.nodes, cluster.tasks
    queue = ask_queue()
    for number, training in enumerate(trainings):
        # Completed now, because in a written file every setting counts as given and is not completed later.
        settings = check_start(training.settings, training.run, nodes * tasks)
        trainings[number] = replace(training, settings=settings)
        _refuse_busy(training.run, queue)
    commands = tuple(training.command() for training in trainings)
    submission = Submission(
        "train", _job_name("train", run), commands, run / JOBS, cluster, nodes, tasks, job.after
    )
    then = None
    if options.evaluate is not None:
        then = _evaluation_of(trainings, submission, options.evaluate)
    if job.dry_run:
        _show(submission)
        if then is not None:
            _show(then(_UNKNOWN))
        return
    _need_slurm()
    job_id = _send_training(submission, trainings)
    runs = [str(training.run) for training in trainings]
    _tell(submission, job_id, runs)
    if then is not None:
        evaluation = then(job_id)
        _tell(evaluation, submit(evaluation), runs)


def submit_evaluation(options: SubmitEvaluateOptions) -> None:
    """Submits a job that runs `hrgan evaluate ARGUMENTS`; with `each`, an array with one job for each
    snapshot."""
    asked = _evaluate_options(options.arguments)
    evaluating.check(asked)
    if options.each:
        commands, jobs = _each_snapshot(options.arguments, asked)
    else:
        may_wait = options.job.after is not None or asked.watch
        jobs = _beside(asked.source) or _source(asked.source, may_wait=may_wait)[1]
        commands = [tuple(options.arguments)]
    _submit_other(options.job, "evaluate", commands, jobs)


def _each_snapshot(arguments: Sequence[str], asked: EvaluateOptions) -> tuple[list[tuple[str, ...]], Path]:
    """The arguments for each snapshot of the run that they name, and the folder for the jobs' output."""
    run = asked.source
    if asked.every or asked.watch or asked.chosen_widths:
        raise UserError(
            "--each: submits a job for each snapshot; not allowed with --all, --watch or --widths"
        )
    folders = list_snapshots(run)
    if not folders:
        raise UserError(f"--each: {run} is not a run with snapshots")

    def with_source(place: int, folder: Path) -> tuple[str, ...]:
        return (*arguments[:place], str(folder), *arguments[place + 1 :])

    # If several arguments equal the run, this finds the one that is the source.
    places = (place for place, argument in enumerate(arguments) if Path(argument) == run)
    first = folders[0]
    source = next(place for place in places if _evaluate_options(with_source(place, first)).source == first)
    return [with_source(source, folder) for folder in folders], run / JOBS


def submit_generation(options: SubmitOtherOptions) -> None:
    """Submits a job that runs `hrgan generate ARGUMENTS`."""
    job = options.job
    asked = parsed(GenerateOptions, "hrgan generate", options.arguments)
    snapshot, jobs = _source(asked.source, may_wait=job.after is not None)
    if snapshot is not None:
        judges = generating.judges_of(asked, snapshot, torch.device("cpu"))
        generating.request_of(asked, snapshot, judges)
    if asked.is_picture and job.nodes not in (None, 1):
        raise UserError(f"--nodes {job.nodes}: one process makes a picture (--grid); allowed: 1")
    _submit_other(job, "generate", [options.arguments], jobs, tasks=1 if asked.is_picture else None)


def submit_preparation(options: SubmitPrepareOptions) -> None:
    """Submits an array of jobs that all run `hrgan prepare ARGUMENTS`."""
    job = options.job
    asked = parsed(PrepareOptions, "hrgan prepare", options.arguments)
    if job.nodes not in (None, 1):
        raise UserError(
            f"--nodes {job.nodes}: each job has one node; allowed: --tasks {job.nodes}, for as many jobs"
        )
    asked.check()
    asked.asked.check()
    for one in asked.sets:
        one.asked.size(source_kind(one.source).side)
    begun = [refuse_strangers(one.out) for one in asked.sets]
    if all(begun) and all(read_unfinished(one.out).complete for one in asked.sets):
        raise UserError(f"{asked.out}: is complete; there is nothing to prepare")
    jobs = asked.out / JOBS
    _submit_other(job, "prepare", [options.arguments], jobs, tasks=1, copies=options.tasks, gpus=False)


def submit_encoding(options: SubmitOtherOptions) -> None:
    """Submits a job that runs `hrgan encode ARGUMENTS`."""
    asked = parsed(EncodeOptions, "hrgan encode", options.arguments)
    encoding.request_of(asked, torch.device("cpu"))
    if refuse_strangers(asked.out) and read_unfinished(asked.out).complete:
        raise UserError(f"{asked.out}: is complete; there is nothing to encode")
    _submit_other(options.job, "encode", [options.arguments], asked.out / JOBS)


def _submit_other(
    job: JobOptions,
    name: CommandName,
    commands: Sequence[Sequence[str]],
    jobs: Path,
    tasks: int | None = None,
    copies: int = 1,
    gpus: bool = True,
) -> None:
    """Submits one job for each of `commands`, by default on one node, which is what most of them need.
    copies, gpus: as `Submission` has them."""
    cluster = load_cluster(job.cluster)
    nodes, tasks = job.nodes or 1, tasks or cluster.tasks
    own = tuple(JobCommand((name, *arguments), (name, *arguments), jobs) for arguments in commands)
    submission = Submission(
        name,
        _job_name(name, jobs.parent),
        own,
        jobs,
        cluster,
        nodes,
        tasks,
        job.after,
        copies=copies,
        gpus=gpus,
    )
    if job.dry_run:
        _show(submission)
        return
    _need_slurm()
    _tell(submission, submit(submission), [str(jobs.parent)] * len(own))


def _training(options: SubmitTrainOptions, point: SweepRun) -> Training:
    overrides = (*options.overrides, *point.overrides)
    settings = load_config(options.config, overrides)
    return Training(settings, options.folder / point.name, ("train", str(options.config), *overrides))


def _job_name(name: CommandName, run: Path) -> str:
    """The job's name, from the run folder. UserError if SLURM cannot write into that folder."""
    path = str(run.resolve())
    if "%" in path or "\\" in path or not path.isprintable():
        raise UserError(f"{run}: SLURM cannot write there; allowed: a path without %, \\ or line breaks")
    return f"hrgan-{name}-{run.resolve().name}"


def _refuse_busy(run: Path, queue: Queue) -> None:
    try:
        job = read_job(run)
    except Damaged as damage:
        raise UserError(f"{damage}; move it away if no job of this run waits or runs") from damage
    queued = queue.find(job.job_id) if job is not None else None
    # If the queue answers and does not know the job, it was cancelled or killed before it could record so.
    # If the queue knows it, it counts whatever its record says: SLURM may have requeued it by itself.
    unsure = not queue.known and job is not None and job.state in BUSY and job.job_id is not None
    if job is not None and (queued is not None or unsure):
        now = queued.state.lower() if queued is not None else job.state
        raise UserError(
            f"{run}: is {now} as job {job.job_id}; wait for it (hrgan runs {run}), "
            f"or scancel {job.job_id} first"
        )
    if (run / ".lock").exists():
        with only_writer(run):
            pass


def _evaluation_of(
    trainings: Sequence[Training], submission: Submission, metrics: str
) -> Callable[[str], Submission]:
    """A function from the number of the training job to the submission that evaluates its runs."""
    commands = []
    for training in trainings:
        data = str(training.settings.data.path)
        arguments = (str(training.run), "--data", data, "--metrics", metrics, "--all")
        evaluating.check(_evaluate_options(arguments))
        own = ("evaluate", *arguments)
        commands.append(JobCommand(own, own, training.run / JOBS))
    folder, cluster = submission.folder, submission.cluster
    return lambda job: Submission(
        "evaluate",
        _job_name("evaluate", folder.parent),
        tuple(commands),
        folder,
        cluster,
        nodes=1,
        tasks=cluster.tasks,
        after=job,
        each=len(commands) > 1,
    )


def _beside(data: Path) -> Path | None:
    """The folder for the output of a job that measures a data set; None if `data` is not a data set."""
    return data.resolve().parent / JOBS if is_data(data) else None


def _source(source: Path, *, may_wait: bool) -> tuple[Snapshot | None, Path]:
    """The snapshot, if it exists already, and the folder for the job's output.

    With `may_wait`, a submitted run without snapshots is accepted.
    """
    try:
        snapshot = open_snapshot(source)
    except UserError as error:
        if not (source / JOB).exists():
            raise
        if not may_wait:
            raise UserError(f"{error} yet; allowed: --after JOB, the job that trains it") from error
        return None, source / JOBS
    run = run_of(snapshot)
    if run is None:
        run = source.parent
    return snapshot, (source if run == source.resolve() else run) / JOBS


def _need_slurm() -> None:
    if shutil.which("sbatch") is None:
        raise UserError(
            "sbatch is not on PATH: there is no SLURM here; submit where it is (--dry-run needs none)"
        )


def _send_training(submission: Submission, trainings: Sequence[Training]) -> str:
    for training in trainings:
        publish_bytes(training.run / JOBS / SETTINGS, dump_config(training.settings).encode())
    with _put_back_on_error([training.run / JOB for training in trainings]):
        for training in trainings:
            write_job(training.run, Job("pending"))
        job_id = submit(submission)
    for number, training in enumerate(trainings):
        # A job that has already started has recorded that itself, with its number.
        job = read_job(training.run)
        if job is not None and job.state == "pending":
            write_job(training.run, Job("pending", f"{job_id}_{number}" if len(trainings) > 1 else job_id))
    return job_id


@contextmanager
def _put_back_on_error(paths: Sequence[Path]) -> Iterator[None]:
    before = {path: path.read_bytes() if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:
        for path, data in before.items():
            path.unlink(missing_ok=True) if data is None else publish_bytes(path, data)
        raise


def _show(submission: Submission) -> None:
    typer.echo(script(submission), nl=False)
    note(f"{submission.name}: nothing is submitted; this is what sbatch would get")


def _tell(submission: Submission, job_id: str, runs: Sequence[str]) -> None:
    array = submission.jobs > 1
    nodes, tasks = submission.nodes, submission.tasks
    size = f"{counted(nodes, 'node')} x {counted(tasks, 'process', 'processes')}"
    typer.echo(f"job {job_id}: {submission.name}, {f'{submission.jobs} jobs of ' if array else ''}{size}")
    for number, (command, run) in enumerate(zip(submission.commands, runs, strict=True)):
        typer.echo(f"  run     {run}")
        task = f"{job_id}_{'*' if submission.copies > 1 else number}"
        log = log_pattern(command, array).replace("%A_%a", task).replace("%j", job_id)
        others = "" if nodes * tasks == 1 else " (and one for each other process)"
        typer.echo(f"  log     {log.replace('%t', '0')}{others}")
    typer.echo(f"  script  {submission.folder}/{job_id}_submission.sh")
    typer.echo(f"  next    hrgan runs {submission.folder.parent}; squeue -j {job_id}; scancel {job_id}")
