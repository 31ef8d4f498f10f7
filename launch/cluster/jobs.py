"""Commands become jobs: checked, written down, submitted, and told."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import typer
from typer.main import get_command

from launch.assembly.generating import Words
from launch.assembly.training import check_start
from launch.cluster.batch import Batch, Kind, Work, log_pattern, script, submit
from launch.cluster.queue import Queue, ask_queue
from launch.cluster.sweep import Point, points
from launch.commands.evaluate import check, evaluate
from launch.commands.generate import generate
from pipeline.config.cluster import ClusterConfig
from pipeline.config.load import dump_config, load_cluster, load_config
from pipeline.config.run import RunConfig
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.results import run_of
from pipeline.evaluation.sources import is_data
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.job import JOB, JOBS, SETTINGS, Job, read_job, write_job
from pipeline.storage.lock import only_writer
from pipeline.storage.snapshots import Snapshot, list_snapshots, open_snapshot

BUSY = ("pending", "running", "requeued")
_UNKNOWN = "JOB"  # the number of a job that a dry run does not submit


@dataclass(frozen=True)
class Order:
    """What the options of `hrgan submit` say."""

    cluster: ClusterConfig
    nodes: int | None
    after: str | None
    dry_run: bool

    @classmethod
    def of(cls, cluster: Path, nodes: int | None, after: str | None, dry_run: bool) -> Order:
        """Reads the cluster file; UserError for what cannot be."""
        if after is not None and not re.fullmatch(r"\d+(_\d+)?", after):
            raise UserError(f"--after {after}: must be the number of a job, such as 17 or 17_2")
        return cls(load_cluster(cluster), nodes, after, dry_run)


@dataclass(frozen=True)
class Training:
    """One run that a job is to train."""

    settings: RunConfig
    run: Path
    words: tuple[str, ...]

    def work(self) -> Work:
        """What the job's processes run, from the settings as they are now."""
        jobs = self.run / JOBS
        words = ("train", str(jobs / SETTINGS), "--run", str(self.run))
        return Work(words, (*self.words, "--run", str(self.run)), jobs, self.run)


def submit_training(
    order: Order, config: Path, overrides: Sequence[str], run: Path, sweep: Sequence[str], metrics: str | None
) -> None:
    """One job or, for a sweep, an array; then, with `metrics`, one that evaluates when it has ended well."""
    found = [_training(config, overrides, run, point) for point in points(sweep)]
    nodes, tasks = order.nodes or order.cluster.nodes, order.cluster.tasks
    queue = ask_queue()
    for number, training in enumerate(found):
        # Completed here: written out, every setting counts as given, and nothing would be left to complete.
        settings = check_start(training.settings, training.run, nodes * tasks)
        found[number] = replace(training, settings=settings)
        _refuse_busy(training.run, queue)
    works = tuple(training.work() for training in found)
    batch = Batch("train", _name("train", run), works, run / JOBS, order.cluster, nodes, tasks, order.after)
    then = _evaluation_of(found, batch, metrics) if metrics is not None else None
    if order.dry_run:
        _show(batch)
        if then is not None:
            _show(then(_UNKNOWN))
        return
    _need_slurm()
    job_id = _send_training(batch, found)
    _tell(batch, job_id, [str(training.run) for training in found])
    if then is not None:
        after = then(job_id)
        _tell(after, submit(after), [str(training.run) for training in found])


def submit_evaluation(order: Order, arguments: Sequence[str], each: bool) -> None:
    """A job that runs `hrgan evaluate ARGUMENTS`; with `each`, an array: one job for each snapshot."""
    given = _understood("evaluate", evaluate, arguments)
    check(given)
    if each:
        found, jobs = _each_snapshot(arguments, given)
    else:
        may_wait = order.after is not None or given["watch"]
        jobs = _beside(given["source"]) or _source(given["source"], may_wait=may_wait)[1]
        found = [tuple(arguments)]
    _submit_other(order, "evaluate", found, jobs)


def _each_snapshot(arguments: Sequence[str], given: Mapping[str, Any]) -> tuple[list[tuple[str, ...]], Path]:
    """The arguments once for each snapshot of the run that they name, and the folder for the output."""
    run = given["source"]
    if given["every"] or given["watch"]:
        raise UserError("--each: is a job for each snapshot; not allowed with it: --all, --watch")
    folders = list_snapshots(run)
    if not folders:
        raise UserError(f"--each: {run} is not a run with snapshots")
    # Of equal words, the one that changes what is evaluated when it changes.
    places = [place for place, word in enumerate(arguments) if Path(word) == run]
    place = next(place for place in places if _source_with(arguments, place, folders[0]) == folders[0])
    return [(*arguments[:place], str(folder), *arguments[place + 1 :]) for folder in folders], run / JOBS


def _source_with(arguments: Sequence[str], place: int, folder: Path) -> Path:
    words = [*arguments[:place], str(folder), *arguments[place + 1 :]]
    return Path(_understood("evaluate", evaluate, words)["source"])


def submit_generation(order: Order, arguments: Sequence[str]) -> None:
    """A job that runs `hrgan generate ARGUMENTS`."""
    given = _understood("generate", generate, arguments)
    snapshot, jobs = _source(given["source"], may_wait=order.after is not None)
    asked = Words.of(given)
    if snapshot is not None:
        asked.request(snapshot, asked.judges(snapshot, torch.device("cpu")))
    if asked.grid and order.nodes not in (None, 1):
        raise UserError(f"--nodes {order.nodes}: one process makes a picture (--grid); allowed: 1")
    _submit_other(order, "generate", [arguments], jobs, tasks=1 if asked.grid else None)


def _submit_other(
    order: Order, kind: Kind, found: Sequence[Sequence[str]], jobs: Path, tasks: int | None = None
) -> None:
    """One job for each of those arguments, on one node unless told, which most of them need."""
    nodes, tasks = order.nodes or 1, tasks or order.cluster.tasks
    works = tuple(Work((kind, *arguments), (kind, *arguments), jobs) for arguments in found)
    batch = Batch(kind, _name(kind, jobs.parent), works, jobs, order.cluster, nodes, tasks, order.after)
    if order.dry_run:
        _show(batch)
        return
    _need_slurm()
    _tell(batch, submit(batch), [str(jobs.parent)] * len(works))


def _training(config: Path, overrides: Sequence[str], run: Path, point: Point) -> Training:
    settings = load_config(config, [*overrides, *point.overrides])
    words = ("train", str(config), *overrides, *point.overrides)
    return Training(settings, run / point.name, words)


def _name(kind: Kind, run: Path) -> str:
    """Of a job, from its run folder, which its script names in patterns of SLURM."""
    path = str(run.resolve())
    if "%" in path or "\\" in path or not path.isprintable():
        raise UserError(f"{run}: SLURM cannot write there; allowed: a path without %, \\ and line breaks")
    return f"hrgan-{kind}-{run.resolve().name}"


def _refuse_busy(run: Path, queue: Queue) -> None:
    try:
        job = read_job(run)
    except Damaged as damage:
        raise UserError(f"{damage}; move it away if no job of this run waits or runs") from damage
    queued = queue.find(job.job_id) if job is not None else None
    # A queue that answers and does not know the job: it was cancelled or killed, and could not say so.
    # One that has it, whatever the run has said: SLURM may have put it back by itself.
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


def _evaluation_of(found: Sequence[Training], training: Batch, metrics: str) -> Callable[[str], Batch]:
    """The batch that evaluates what the job with the number that it is given has trained."""
    works = []
    for one in found:
        words = (
            "evaluate",
            str(one.run),
            "--data",
            str(one.settings.data.path),
            "--metrics",
            metrics,
            "--all",
        )
        check(_understood("evaluate", evaluate, words[1:]))
        works.append(Work(words, words, one.run / JOBS))
    folder, cluster, name = training.folder, training.cluster, _name("evaluate", training.folder.parent)
    return lambda job: Batch(
        "evaluate", name, tuple(works), folder, cluster, 1, cluster.tasks, job, each=len(works) > 1
    )


def _understood(kind: Kind, command: Callable[..., int], arguments: Sequence[str]) -> dict[str, Any]:
    """The arguments by name, as the command itself reads them; its errors of usage if they are wrong."""
    app = typer.Typer()
    app.command()(command)
    with get_command(app).make_context(f"hrgan {kind}", list(arguments)) as context:
        return dict(context.params)


def _beside(data: Path) -> Path | None:
    """The folder for the output of a job that measures a data set; None if `data` is none."""
    return data.resolve().parent / JOBS if is_data(data) else None


def _source(source: Path, *, may_wait: bool) -> tuple[Snapshot | None, Path]:
    """The snapshot, if it is there by now, and the folder for the job's output.

    may_wait: for a run that has been submitted and has no snapshots yet.
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


def _send_training(batch: Batch, found: Sequence[Training]) -> str:
    for training in found:
        publish_bytes(training.run / JOBS / SETTINGS, dump_config(training.settings).encode())
    with _put_back_on_error([training.run / JOB for training in found]):
        for training in found:
            write_job(training.run, Job("pending"))
        job_id = submit(batch)
    for number, training in enumerate(found):
        # A job that has started already has said so itself, and knows its number.
        job = read_job(training.run)
        if job is not None and job.state == "pending":
            write_job(training.run, Job("pending", f"{job_id}_{number}" if len(found) > 1 else job_id))
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


def _show(batch: Batch) -> None:
    typer.echo(script(batch), nl=False)
    typer.echo(f"hrgan: {batch.kind}: nothing is submitted; this goes to sbatch", err=True)


def _tell(batch: Batch, job_id: str, runs: Sequence[str]) -> None:
    array = len(batch.works) > 1
    size = f"{_many(batch.nodes, 'node')} x {_many(batch.tasks, 'process')}"
    typer.echo(f"job {job_id}: {batch.kind}, {f'{len(runs)} jobs of ' if array else ''}{size}")
    for number, (work, run) in enumerate(zip(batch.works, runs, strict=True)):
        typer.echo(f"  run     {run}")
        log = log_pattern(work, array).replace("%A_%a", f"{job_id}_{number}").replace("%j", job_id)
        others = "" if batch.nodes * batch.tasks == 1 else " (and one for each other process)"
        typer.echo(f"  log     {log.replace('%t', '0')}{others}")
    typer.echo(f"  script  {batch.folder}/{job_id}_submission.sh")
    typer.echo(f"  next    hrgan runs {batch.folder.parent}; squeue -j {job_id}; scancel {job_id}")


def _many(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "es" if word.endswith("s") else "s")
