"""`hrgan evaluate`: from its options to results, in one process or several."""

from __future__ import annotations

import sys
from dataclasses import replace

import typer

from launch.assembly.group import Group, run_as_group
from launch.assembly.operations import prepare_operations
from launch.assembly.sampling import sampler_of
from launch.assembly.scanning import check_widths, scan_widths
from launch.cluster.processes import is_one_of_many, run_ranks
from launch.cluster.srun import join_srun
from launch.options.evaluate import EvaluateOptions
from pipeline.contracts import Process
from pipeline.data.shards.index import ShardIndex
from pipeline.engines.peers import ProcessPeers
from pipeline.evaluation.features.extractors import fetch_weights
from pipeline.evaluation.features.weights import chosen_extractor, chosen_perceptual, chosen_weights
from pipeline.evaluation.follow import check_scope, evaluate_target
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.metrics.registry import parse_metrics
from pipeline.evaluation.plan import check_count, check_labels, check_size
from pipeline.evaluation.results import results_folder
from pipeline.evaluation.settings import PathSettings, Settings
from pipeline.evaluation.sources import DataSource, is_data
from pipeline.words import keep_quiet, note

_GO_ON = "what has been measured stands, and the same command goes on"


def evaluate(options: EvaluateOptions) -> int:
    """Measures what the options ask for. Returns the exit code."""
    settings = settings_of(options)
    join_srun()
    if options.processes > 1 and not is_one_of_many():
        check(options)
        prepare_operations("auto", options.device)
        return run_ranks(sys.argv[1:], options.processes, go_on=_GO_ON)

    def work(process: Process, peers: ProcessPeers) -> None:
        job = EvaluationJob(
            options.data,
            replace(settings, device=process.device),
            lambda snapshot: sampler_of(snapshot, process.device, options.data, options.inputs),
            note if process.is_first else keep_quiet,
            peers,
        )
        if options.chosen_widths:
            scan_widths(job, options, process.device, typer.echo, note)
        else:
            evaluate_target(job, options.source, options.scope, typer.echo, poll_seconds=options.poll)

    group = Group(results_folder(options.source), _GO_ON, options.silence, options.patience)
    return run_as_group(group, options.device, work)


def settings_of(options: EvaluateOptions) -> Settings:
    """The settings of the evaluation that the options describe."""
    inception, extractor = options.inception, options.extractor_file
    vgg, lpips = options.vgg, options.lpips
    weights = chosen_perceptual(vgg.vgg_weights, vgg.vgg_digest, lpips.lpips_weights, lpips.lpips_digest)
    return Settings(
        metrics=parse_metrics(options.metrics),
        count=options.count,
        seed=options.seed,
        seeds=options.seeds,
        batch_size=options.batch,
        inception=chosen_weights(inception.inception_weights, inception.inception_digest),
        paths=PathSettings(options.ppl_sampling, options.ppl_crop, weights),
        per_class=options.per_class,
        inputs=None if options.inputs is None else ShardIndex.read(options.inputs).digest,
        extractor=chosen_extractor(
            options.extractor, extractor.extractor_weights, extractor.extractor_digest
        ),
    )


def check(options: EvaluateOptions) -> None:
    """Refuses, before anything is started, what the evaluation would refuse. Downloads missing weights,
    because the machines that run the job may have no access to the network."""
    check_scope(options.source, options.scope)
    check_widths(options)
    settings = settings_of(options)
    index = ShardIndex.read(options.data)
    check_count(settings.count, index.count, str(index.root))
    check_size(settings, index.spec, str(index.root))
    check_labels(settings, index.spec.classes, str(index.root))
    if is_data(options.source):
        DataSource(ShardIndex.read(options.source), index).check(settings)
    fetch_weights(settings)
