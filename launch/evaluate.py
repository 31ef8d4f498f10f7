"""`hrgan evaluate`: how good the images of a snapshot are."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.contracts import Process
    from pipeline.engines.peers import ProcessPeers
    from pipeline.evaluation.follow import Scope
    from pipeline.evaluation.plan import Settings

_GO_ON = "what has been measured stands, and the same command goes on"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(metavar="SNAPSHOT_OR_RUN", help="A snapshot, or a run: its newest and its untrained."),
    ],
    data: Annotated[Path, typer.Option(help="Shards of real images to compare with.")],
    metrics: Annotated[
        str, typer.Option(help="Any of fid,kid,is,pr,dc,swd,msssim; the first five need Inception weights.")
    ] = "swd,msssim",
    count: Annotated[
        int | None,
        typer.Option(
            help="Generated images; else 50,000 for Inception metrics, 8,192 for swd, 2,000 for msssim."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every snapshot of the run.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Every snapshot, as training writes them, to the run's end.")
    ] = False,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for new snapshots.")] = 20.0,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine; started by torchrun or srun, it is one.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of swd's patches and directions.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Sets of generated images; gives the spread.")] = 1,
    batch: Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images at once.")] = 32,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    per_class: Annotated[bool, typer.Option("--per-class", help="fid within each class too.")] = False,
    inception_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inception weights that lie outside $TORCH_HOME.")
    ] = None,
    inception_digest: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help="Of weights that are not the published ones; figures then compare with nothing else.",
        ),
    ] = None,
    silence: Annotated[
        float, typer.Option(min=1, help="Seconds without a sign of life after which a process is dead.")
    ] = 60.0,
    patience: Annotated[
        float, typer.Option(min=1, help="Minutes that processes wait for one that is behind.")
    ] = 120.0,
) -> int:
    """Measure generated images against real ones.

    Results go to RUN/metrics/, to TensorBoard and to the terminal. What has been measured before in the
    same way is not measured again; several evaluations of one run share its snapshots. Any number of
    processes gives the same figures.

    \b
    Examples:
      hrgan evaluate out/quickstart/run --data out/quickstart/data
      hrgan evaluate runs/faces --data shards --metrics fid,kid,pr --processes 8
      hrgan evaluate runs/faces --data shards --watch
    """
    from launch.group import Group, run_as_group
    from launch.operations import prepare_operations
    from launch.processes import is_one_of_many, run_ranks
    from launch.srun import join_srun

    given = dict(locals())
    settings, scope = settings_of(given), scope_of(every, watch)
    join_srun()
    if processes > 1 and not is_one_of_many():
        check(given)
        prepare_operations("auto", device.value)
        return run_ranks(sys.argv[1:], processes, go_on=_GO_ON)

    def work(process: Process, peers: ProcessPeers) -> None:
        from launch.sampling import sampler_of
        from pipeline.evaluation.follow import evaluate_target
        from pipeline.evaluation.job import EvaluationJob

        job = EvaluationJob(
            data,
            replace(settings, device=process.device),
            lambda snapshot: sampler_of(snapshot, process.device),
            _note if process.is_first else _keep_quiet,
            peers,
        )
        evaluate_target(job, source, scope, typer.echo, poll_seconds=poll)

    group = Group(_results_folder(source), _GO_ON, silence, patience)
    return run_as_group(group, device.value, work)


def settings_of(given: Mapping[str, Any]) -> Settings:
    """What the command's arguments, by name, ask to be measured."""
    from pipeline.evaluation.plan import Settings, parse_metrics
    from pipeline.evaluation.weights import chosen_weights

    return Settings(
        metrics=parse_metrics(given["metrics"]),
        count=given["count"],
        seed=given["seed"],
        seeds=given["seeds"],
        batch_size=given["batch"],
        inception=chosen_weights(given["inception_weights"], given["inception_digest"]),
        per_class=given["per_class"],
    )


def check(given: Mapping[str, Any]) -> None:
    """Refuses, before anything is started, arguments that the command would refuse; fetches weights that
    it will need, for where it runs there may be no way out."""
    from pipeline.data.index import ShardIndex
    from pipeline.evaluation.measure import check_size
    from pipeline.evaluation.plan import check_count

    scope_of(given["every"], given["watch"])
    settings = settings_of(given)
    index = ShardIndex.read(given["data"])
    check_count(settings.count, index.count, str(index.root))
    check_size(settings.metrics, index.spec, str(index.root))
    if settings.needs_extractor:
        settings.inception.read()


def scope_of(every: bool, watch: bool) -> Scope:
    """Which snapshots the options mean."""
    if every and watch:
        raise UserError("--all and --watch: give one; --watch evaluates all and then waits for more")
    return "watch" if watch else "all" if every else "newest"


def _results_folder(source: Path) -> Path:
    from pipeline.evaluation.results import results_folder

    return results_folder(source)


def _note(line: str) -> None:
    typer.echo(f"hrgan: {line}", err=True)


def _keep_quiet(line: str) -> None:
    pass
