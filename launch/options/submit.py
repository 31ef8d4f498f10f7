"""Options of `hrgan submit`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from launch.options.train import RunOptions
from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How a job is submitted. UserError for a job to wait for that is no number."""

    cluster: Annotated[
        Path,
        typer.Option(
            "--cluster",
            metavar="FILE",
            help="Cluster file; hrgan configs cluster/example prints one to begin with.",
        ),
    ]
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Number of nodes, instead of the cluster file's.")
    ] = None
    after: Annotated[
        str | None,
        typer.Option(metavar="JOB", help="Start once this job has ended well, and never if it fails."),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the script for sbatch, and submit nothing.")
    ] = False

    def __post_init__(self) -> None:
        if self.after is not None and not re.fullmatch(r"\d+(_\d+)?", self.after):
            raise UserError(f"--after {self.after}: must be the number of a job, such as 17 or 17_2")


@dataclass(frozen=True, kw_only=True)
class SubmitTrainOptions(RunOptions):
    """What `hrgan submit train` is asked for."""

    job: JobOptions
    sweep: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=V1,V2",
            help="Train one run for each value, in RUN/KEY=V1 and so on; several: one for each combination.",
        ),
    ] = field(default_factory=list)
    evaluate: Annotated[
        str | None,
        typer.Option(
            metavar="METRICS", help="Evaluate every snapshot in a job afterwards, by swd,msssim or others."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SubmitOtherOptions:
    """What `hrgan submit` is asked for with the arguments of another command."""

    arguments: Annotated[
        list[str],
        typer.Argument(metavar="ARGUMENTS...", help="The arguments of the command itself."),
    ]
    job: JobOptions


@dataclass(frozen=True, kw_only=True)
class SubmitPrepareOptions(SubmitOtherOptions):
    """What `hrgan submit prepare` is asked for."""

    tasks: Annotated[
        int, typer.Option(min=1, help="Number of jobs in the array, which share the work; a node each.")
    ] = 4


@dataclass(frozen=True, kw_only=True)
class SubmitEvaluateOptions(SubmitOtherOptions):
    """What `hrgan submit evaluate` is asked for."""

    each: Annotated[
        bool, typer.Option("--each", help="Submit an array: one job for each snapshot of the run.")
    ] = False
