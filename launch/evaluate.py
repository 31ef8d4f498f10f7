"""`hrgan evaluate`: how good the images of a snapshot are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.evaluation.follow import Scope


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
        str, typer.Option(help="Any of fid,kid,is,pr,swd,msssim; the first four need Inception weights.")
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
    seed: Annotated[int, typer.Option(help="Of swd's patches and directions.")] = 0,
    batch: Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images at once.")] = 32,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
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
) -> int:
    """Measure generated images against real ones.

    Results go to RUN/metrics/, to TensorBoard and to the terminal. What has been measured before in the
    same way is not measured again.

    \b
    Examples:
      hrgan evaluate out/quickstart/run --data out/quickstart/data
      hrgan evaluate runs/faces --data shards --metrics fid,kid,pr
      hrgan evaluate runs/faces --data shards --watch
    """
    from launch.sampling import choose_device, sampler_of
    from pipeline.evaluation.follow import evaluate_target
    from pipeline.evaluation.job import EvaluationJob
    from pipeline.evaluation.plan import Settings, parse_metrics
    from pipeline.evaluation.weights import chosen_weights

    scope = scope_of(every, watch)
    where = choose_device(device.value)
    settings = Settings(
        metrics=parse_metrics(metrics),
        count=count,
        seed=seed,
        batch_size=batch,
        device=where,
        inception=chosen_weights(inception_weights, inception_digest),
    )
    job = EvaluationJob(data, settings, lambda snapshot: sampler_of(snapshot, where), _note)
    evaluate_target(job, source, scope, typer.echo)
    return 0


def scope_of(every: bool, watch: bool) -> Scope:
    """Which snapshots the options mean."""
    if every and watch:
        raise UserError("--all and --watch: give one; --watch evaluates all and then waits for more")
    return "watch" if watch else "all" if every else "newest"


def _note(line: str) -> None:
    typer.echo(f"hrgan: {line}", err=True)
