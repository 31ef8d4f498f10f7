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
from pipeline.evaluation.metrics.registry import PLAIN, counts_help, names_help, parse_metrics
from pipeline.reading import shown

if TYPE_CHECKING:
    from pipeline.contracts import Process
    from pipeline.engines.peers import ProcessPeers
    from pipeline.evaluation.follow import Scope
    from pipeline.evaluation.plan import Settings

_PLAIN = ",".join(PLAIN)
_GO_ON = "what has been measured stands, and the same command goes on"


class Sampling(StrEnum):
    """Where on a path its length is measured."""

    end = "end"
    full = "full"


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Source = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_DATA",
        help="A snapshot; a run: its newest and its untrained; or shards, generated or not.",
    ),
]
Data = Annotated[Path, typer.Option(help="Shards of real images to compare with.")]
Metrics = Annotated[
    str,
    typer.Option(help=f"Any of {names_help()}."),
]
Count = Annotated[
    int | None,
    typer.Option(help=f"Generated images; else {counts_help()}."),
]
Every = Annotated[bool, typer.Option("--all", help="Every snapshot of the run.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Every snapshot, as training writes them, to the run's end.")
]
Poll = Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for new snapshots.")]
Processes = Annotated[
    int, typer.Option(min=1, help="Processes on this machine; started by torchrun or srun, it is one.")
]
Seed = Annotated[int, typer.Option(help="Of swd's patches and directions.")]
Seeds = Annotated[int, typer.Option(min=1, help="Sets of generated images; more than one give the spread.")]
BatchSize = Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images at once.")]
PerClass = Annotated[bool, typer.Option("--per-class", help="fid within each class too.")]
InceptionFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Inception weights that lie outside $TORCH_HOME.")
]
InceptionDigest = Annotated[
    str | None,
    typer.Option(
        metavar="SHA256",
        help="Of weights that are not the published ones; figures then compare with nothing else.",
    ),
]
ExtractorName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Whose features, instead of each metric's: inception, vgg16, dinov2, clip, clip-l14, or your "
        "own package.module:factory, which is called with the torch.device to compute on.",
    ),
]
ExtractorFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights of dinov2, clip or clip-l14."),
]
VggFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="VGG16 weights (also LPIPS's) outside $TORCH_HOME.")
]
LpipsFile = Annotated[Path | None, typer.Option(metavar="FILE", help="LPIPS weights outside $TORCH_HOME.")]
OtherDigest = Annotated[
    str | None, typer.Option(metavar="SHA256", help="Of such weights that are not the published ones.")
]
PathSampling = Annotated[Sampling, typer.Option(help="Where on a path ppl takes its steps.")]
PathCrop = Annotated[bool, typer.Option("--ppl-crop", help="ppl looks at the middle, where FFHQ has faces.")]
Silence = Annotated[
    float, typer.Option(min=1, help="Seconds without a sign of life after which a process is dead.")
]
Patience = Annotated[float, typer.Option(min=1, help="Minutes that processes wait for one that is behind.")]


def evaluate(
    source: Source,
    data: Data,
    metrics: Metrics = _PLAIN,
    count: Count = None,
    every: Every = False,
    watch: Watch = False,
    poll: Poll = 20.0,
    processes: Processes = 1,
    seed: Seed = 0,
    seeds: Seeds = 1,
    batch: BatchSize = 32,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    per_class: PerClass = False,
    inception_weights: InceptionFile = None,
    inception_digest: InceptionDigest = None,
    extractor: ExtractorName = None,
    extractor_weights: ExtractorFile = None,
    extractor_digest: OtherDigest = None,
    ppl_sampling: PathSampling = Sampling.end,
    ppl_crop: PathCrop = False,
    vgg_weights: VggFile = None,
    vgg_digest: OtherDigest = None,
    lpips_weights: LpipsFile = None,
    lpips_digest: OtherDigest = None,
    silence: Silence = 60.0,
    patience: Patience = 120.0,
) -> int:
    """Measure a model's images, or those of shards, against real ones.

    Results go to RUN/metrics/, to TensorBoard and to the terminal; those of shards to SHARDS/metrics/. What
    has been measured before in the same way is not measured again; several evaluations of one run share its
    snapshots. Any number of processes gives the same figures.

    \b
    Examples:
      hrgan evaluate out/quickstart/run --data out/quickstart/data
      hrgan evaluate runs/faces --data shards --metrics fid,kid,pr --processes 8
      hrgan evaluate runs/faces --data shards --watch
      hrgan evaluate generated --data shards --metrics fid,pr
    """
    given = dict(locals())
    from launch.assembly.group import Group, run_as_group
    from launch.assembly.operations import prepare_operations
    from launch.cluster.processes import is_one_of_many, run_ranks
    from launch.cluster.srun import join_srun

    settings, scope = settings_of(given), scope_of(every, watch)
    join_srun()
    if processes > 1 and not is_one_of_many():
        check(given)
        prepare_operations("auto", device.value)
        return run_ranks(sys.argv[1:], processes, go_on=_GO_ON)

    def work(process: Process, peers: ProcessPeers) -> None:
        from launch.assembly.sampling import sampler_of
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
    from pipeline.evaluation.features.weights import chosen_extractor, chosen_perceptual, chosen_weights
    from pipeline.evaluation.plan import PathSettings, Settings

    weights = chosen_perceptual(
        given["vgg_weights"], given["vgg_digest"], given["lpips_weights"], given["lpips_digest"]
    )
    return Settings(
        metrics=parse_metrics(given["metrics"]),
        count=given["count"],
        seed=given["seed"],
        seeds=given["seeds"],
        batch_size=given["batch"],
        inception=chosen_weights(given["inception_weights"], given["inception_digest"]),
        paths=PathSettings(given["ppl_sampling"].value, given["ppl_crop"], weights),
        per_class=given["per_class"],
        extractor=chosen_extractor(given["extractor"], given["extractor_weights"], given["extractor_digest"]),
    )


def check(given: Mapping[str, Any]) -> None:
    """Refuses, before anything is started, arguments that the command would refuse; fetches weights that
    it will need, for where it runs there may be no way out."""
    from pipeline.data.shards.index import ShardIndex
    from pipeline.evaluation.features.extractors import fetch_weights
    from pipeline.evaluation.follow import check_scope
    from pipeline.evaluation.plan import check_count, check_labels, check_size
    from pipeline.evaluation.sources import DataSource, is_data

    check_scope(given["source"], scope_of(given["every"], given["watch"]))
    settings = settings_of(given)
    index = ShardIndex.read(given["data"])
    check_count(settings.count, index.count, str(index.root))
    check_size(settings, index.spec, str(index.root))
    check_labels(settings, index.spec.classes, str(index.root))
    if is_data(given["source"]):
        DataSource(ShardIndex.read(given["source"]), index).check(settings)
    fetch_weights(settings)


def scope_of(every: bool, watch: bool) -> Scope:
    """Which snapshots the options mean."""
    if every and watch:
        raise UserError("--all and --watch: give one; --watch evaluates all and then waits for more")
    return "watch" if watch else "all" if every else "newest"


def _results_folder(source: Path) -> Path:
    from pipeline.evaluation.results import results_folder

    return results_folder(source)


def _note(line: str) -> None:
    typer.echo(f"hrgan: {shown(line)}", err=True)


def _keep_quiet(line: str) -> None:
    pass
