"""`hrgan generate`: from its options to images, in one process or several."""

from __future__ import annotations

import os
import shlex
import sys

import torch
import typer

from launch.assembly.judging import Judges
from launch.assembly.operations import prepare_operations
from launch.assembly.sampling import choose_device, own_device_of, sampler_of
from launch.cluster.processes import is_one_of_many, run_ranks
from launch.cluster.srun import task_place
from launch.options.declared import command_line
from launch.options.generate import EXTRACTOR, GenerateOptions
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from pipeline.evaluation.features.weights import chosen_extractor, chosen_perceptual, chosen_weights
from pipeline.evaluation.settings import PathSettings, Settings
from pipeline.generation.card import About
from pipeline.generation.classes import Classes, classes_like, parse_classes
from pipeline.generation.computing import own_cores
from pipeline.generation.filters import Filters, parse_filters
from pipeline.generation.generate import generate_shards, take_folder
from pipeline.generation.grid import generate_grid
from pipeline.generation.request import Request
from pipeline.generation.said import parse_texts
from pipeline.storage.snapshots import Snapshot, open_snapshot
from pipeline.words import counted, keep_quiet, note, patiently

_BATCH, _BATCH_ON_CPU = (
    16,
    4,
)  # a CPU computes image by image, and small batches are spread better over its cores


def judges_of(options: GenerateOptions, snapshot: Snapshot, device: torch.device) -> Judges:
    """What judges the images, not loaded yet. UserError for options that do not go together."""
    wanted = parse_filters(options.filter)
    if options.is_picture and (wanted or options.neighbours):
        raise UserError(
            "--filter, --neighbours: only shards can have them; leave them out for one picture (--grid)"
        )
    compares = "realism" in wanted or options.neighbours
    if compares and options.reference is None:
        raise UserError(
            "--reference: not given; --filter realism and --neighbours compare with the images in its shards"
        )
    if "discriminator" not in wanted and options.discriminator is not None:
        raise UserError(
            "--discriminator: is only used by --filter discriminator:...; add that, or leave this out"
        )
    if not compares and (options.reference is not None or options.extractor != EXTRACTOR):
        raise UserError(
            "--reference, --extractor: are only used by --filter realism:... and --neighbours; "
            "add one of those, or leave these out"
        )
    if not wanted and options.most is not None:
        raise UserError("--most: is only used with --filter; add one, or leave this out")
    inception, vgg, extractor = options.inception, options.vgg, options.extractor_file
    return Judges(
        snapshot,
        device,
        discriminator=(options.discriminator or options.source) if "discriminator" in wanted else None,
        reference=options.reference if compares else None,
        settings=Settings(
            (),
            batch_size=1,
            device=device,
            inception=chosen_weights(inception.inception_weights, inception.inception_digest),
            extractor=chosen_extractor(
                options.extractor, extractor.extractor_weights, extractor.extractor_digest
            ),
            paths=PathSettings(weights=chosen_perceptual(vgg.vgg_weights, vgg.vgg_digest, None, None)),
        ),
    )


def request_of(options: GenerateOptions, snapshot: Snapshot, judges: Judges) -> Request:
    """The request, checked. UserError for what this snapshot cannot make."""
    classes, device = _classes(options, snapshot), judges.device
    return Request(
        snapshot,
        options.count,
        seed=options.seed,
        truncation=parse_truncation(options.truncation),
        order=options.truncation_order,
        classes=classes.numbers,
        weights=classes.weights,
        kind=options.format,
        quality=options.quality,
        batch_size=options.batch or (_BATCH_ON_CPU if device.type == "cpu" else _BATCH),
        device=device,
        deterministic=options.deterministic,
        for_shards=not options.is_picture,
        texts=parse_texts(options.text, options.texts),
        inputs=None if options.inputs is None else ShardIndex.read(options.inputs).digest,
        filters=Filters(
            **parse_filters(options.filter),
            neighbours=options.neighbours,
            most=options.most,
            sources=judges.digests,
        ),
    )


def _classes(options: GenerateOptions, snapshot: Snapshot) -> Classes:
    names, count = snapshot.classes, snapshot.spec.classes
    if options.classes_like is not None:
        if not count:
            raise UserError("--classes-like: this generator was trained without classes; leave it out")
        return classes_like(ShardIndex.read(options.classes_like), names, count)
    return parse_classes(options.classes, names, count) if options.classes is not None else Classes()


def parse_truncation(text: str) -> float | tuple[float, ...]:
    """`"0.7"` -> 0.7, `"0.5,0.7,1"` -> (0.5, 0.7, 1.0)."""
    try:
        psis = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--truncation {text}: must be a number, or several such as 0.5,0.7,1 (no spaces)"
        ) from error
    return psis if len(psis) > 1 else psis[0]


def make_picture(options: GenerateOptions) -> int:
    """Writes one picture of all images. Returns the exit code."""
    snapshot = open_snapshot(options.source)
    request = request_of(options, snapshot, judges_of(options, snapshot, choose_device(options.device)))
    generate_grid(
        request,
        lambda: sampler_of(snapshot, request.device, inputs=options.inputs),
        options.out,
        columns=options.columns,
        progress=sys.stderr.isatty(),
    )
    typer.echo(f"{options.out}: {counted(request.count, 'image')}")
    return 0


def make_shards(options: GenerateOptions) -> int:
    """Writes a data set of shards, with as many processes as the options ask for, unless this process is
    already one of several. Returns the exit code."""
    snapshot, out, shard_size = open_snapshot(options.source), options.out, options.shard_size
    judges = judges_of(options, snapshot, own_device_of(options.device))
    request = request_of(options, snapshot, judges)
    several = options.processes > 1 and not is_one_of_many()
    if several and not take_folder(request, out, shard_size).complete:
        prepare_operations("auto", options.device)
        return run_ranks(sys.argv[1:], options.processes, spare=True)
    place = task_place(os.environ)
    # Without the number of processes, on which the images do not depend.
    command = ["hrgan", "generate", *command_line(options, without=("processes",))]
    progress = place.first and sys.stderr.isatty()
    silent = progress or not place.first  # a bar, or another process, says how far it is
    with patiently(f"making {counted(request.count, 'image')}", keep_quiet if silent else note):
        index = generate_shards(
            request,
            lambda: sampler_of(snapshot, request.device, inputs=options.inputs),
            out,
            shard_size=shard_size,
            make_panel=lambda: judges.panel(request.filters, out),
            about=About(shlex.join(command), options.licence),
            cores=own_cores(place.beside),
            progress=progress,
        )
    if place.first:
        typer.echo(f"{out}: {counted(index.count, 'image')} in {counted(len(index.shards), 'shard')}")
    return 0
