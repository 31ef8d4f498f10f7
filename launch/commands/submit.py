"""`hrgan submit train | evaluate | generate`: the same commands as jobs of a SLURM cluster."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from launch.commands import train_options as option
from pipeline.errors import UserError

submit = typer.Typer(
    name="submit",
    help="""Run a command as a job of a SLURM cluster.

    What jobs ask for stands in a cluster file, such as configs/cluster/example.yaml. The command is checked
    here, before anything is submitted. hrgan runs shows what becomes of it.

    \b
    Examples:
      hrgan submit train configs/stylegan2-256.yaml data.path=shards --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --after 17 --cluster configs/cluster/example.yaml
      hrgan submit generate runs/faces more --count 50000 --cluster configs/cluster/example.yaml
    """,
    rich_markup_mode=None,
)

Cluster = Annotated[
    Path,
    typer.Option(
        "--cluster",
        metavar="FILE",
        help="Cluster file; hrgan configs cluster/example prints one to begin with.",
    ),
]
Nodes = Annotated[int | None, typer.Option(min=1, help="Nodes, instead of the cluster file's.")]
After = Annotated[
    str | None,
    typer.Option(metavar="JOB", help="Start when this job has ended well; never start if it fails."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the script for sbatch; submit nothing.")]
Words = Annotated[list[str], typer.Argument(metavar="ARGUMENTS...", help="Those of the command itself.")]
# Options that are not of this command are the other's.
_PASS_ON = {"ignore_unknown_options": True}


@submit.command(no_args_is_help=False)
def train(
    config: option.Config,
    cluster: Cluster,
    overrides: option.Overrides = None,
    run: option.Run = None,
    nodes: Nodes = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2", help="A run for each value, in RUN/KEY=V1 ...; several: each combination."
        ),
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(metavar="METRICS", help="A job that then evaluates every snapshot: swd,msssim ..."),
    ] = None,
    after: After = None,
    dry_run: DryRun = False,
) -> int:
    """Train as a job, or as an array of jobs.

    A job that SLURM stops, at its time limit or for another job, saves, goes back into the queue and goes on.

    \b
    Examples:
      hrgan submit train configs/quickstart.yaml --cluster configs/cluster/sandbox.yaml --nodes 2
      hrgan submit train configs/stylegan2-256.yaml data.path=shards --run runs/faces --evaluate swd,msssim --cluster configs/cluster/example.yaml
      hrgan submit train configs/stylegan2-256.yaml data.path=shards --sweep family.r1_gamma=1,2,5 --cluster configs/cluster/example.yaml --dry-run
    """  # noqa: E501  (a command that is copied stands in one line)
    jobs = _jobs()
    order = jobs.Order.of(cluster, nodes, after, dry_run)
    folder = option.run_folder(run, config)
    jobs.submit_training(order, config, overrides or (), folder, sweep or (), evaluate)
    return 0


@submit.command(no_args_is_help=False, context_settings=_PASS_ON)
def evaluate(
    arguments: Words,
    cluster: Cluster,
    each: Annotated[
        bool, typer.Option("--each", help="An array: a job for each snapshot of the run.")
    ] = False,
    nodes: Nodes = None,
    after: After = None,
    dry_run: DryRun = False,
) -> int:
    """Evaluate as a job, or as an array of jobs: with all arguments of hrgan evaluate.

    With --watch it follows a training, and several such jobs share its snapshots.

    \b
    Examples:
      hrgan submit evaluate runs/faces --data shards --metrics swd --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --watch --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --each --cluster configs/cluster/example.yaml
      hrgan submit evaluate runs/faces --data shards --all --after 17 --cluster configs/cluster/example.yaml
    """
    jobs = _jobs()
    jobs.submit_evaluation(jobs.Order.of(cluster, nodes, after, dry_run), arguments, each)
    return 0


@submit.command(no_args_is_help=False, context_settings=_PASS_ON)
def generate(
    arguments: Words, cluster: Cluster, nodes: Nodes = None, after: After = None, dry_run: DryRun = False
) -> int:
    """Generate as a job: with all arguments of hrgan generate.

    \b
    Examples:
      hrgan submit generate runs/faces more --count 50000 --cluster configs/cluster/example.yaml
    """
    jobs = _jobs()
    jobs.submit_generation(jobs.Order.of(cluster, nodes, after, dry_run), arguments)
    return 0


def _jobs() -> ModuleType:
    if importlib.util.find_spec("submitit") is None:
        raise UserError("hrgan submit: submitit is not installed: pip install 'hrgan[slurm]'")
    from launch.cluster import jobs

    return jobs
