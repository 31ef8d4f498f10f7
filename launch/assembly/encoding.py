"""`hrgan encode`: from its options to shards with latents, in one process or several."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import torch
import typer

from launch.assembly.operations import prepare_operations, use_operations
from launch.assembly.sampling import own_device_of
from launch.cluster.processes import is_one_of_many, run_ranks
from launch.cluster.srun import task_place
from launch.options.declared import command_line
from launch.options.encode import EncodeOptions
from pipeline.data.encoding.encode import encode_shards, take_folder
from pipeline.data.encoding.request import Coder, Request
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from pipeline.float32 import full_float32
from pipeline.generation.computing import own_cores, repeatable
from pipeline.models.autoencoder import autoencoder_from
from pipeline.models.codecs import moments
from pipeline.storage.averages import GENERATOR
from pipeline.storage.fixtures import read_fixture
from pipeline.storage.snapshots import open_snapshot
from pipeline.words import counted, keep_quiet, note, patiently


def coder_of(codec: Path, device: torch.device) -> Coder:
    """The autoencoder of a snapshot, or of a run's newest. UserError if there is none or it is none."""
    snapshot = open_snapshot(codec)
    entry = snapshot.manifest.files.get(GENERATOR)
    file = snapshot.folder / GENERATOR
    tensors, sha256 = read_fixture("--codec", file, None if entry is None else entry.sha256)
    try:
        network = autoencoder_from(tensors).to(device)
    except UserError as error:
        raise UserError(f"--codec {codec}: {error}") from error
    shape = network.shape
    return Coder(
        str(snapshot.folder),
        sha256,
        image_channels=shape.image_channels,
        factor=shape.factor,
        channels=shape.latent_channels,
        scale=float(network.scale),
        encode=lambda images: moments(network, images),
        decode=network.decode,
    )


def request_of(options: EncodeOptions, device: torch.device) -> Request:
    """The request, checked. UserError for samples that the codec cannot encode."""
    return Request(
        ShardIndex.read(options.source),
        coder_of(options.codec, device),
        dtype=options.dtype,
        scale=options.settled_scale(),
        batch_size=options.batch,
        device=device,
        shard_size=options.shard_size,
    )


def encode(options: EncodeOptions) -> int:
    """Writes the shards, with as many processes as the options ask for, unless this process is already one of
    several. Returns the exit code."""
    device, place, out = own_device_of(options.device), task_place(os.environ), options.out
    full_float32()
    use_operations("auto", device, tell=note if place.first else keep_quiet)
    request = request_of(options, device)
    several = options.processes > 1 and not is_one_of_many()
    if not take_folder(request, out).complete:
        if place.first and not is_one_of_many():
            note(_estimate(request, out))
        if several:
            prepare_operations("auto", options.device)
            return run_ranks(sys.argv[1:], options.processes, spare=True)
    # Without the number of processes, on which the latents do not depend.
    command = ["hrgan", "encode", *command_line(options, without=("processes",))]
    progress = place.first and sys.stderr.isatty()
    silent = progress or not place.first  # a bar, or another process, says how far it is
    images = counted(request.source.count, "image")
    with (
        patiently(f"encoding {images}", keep_quiet if silent else note),
        repeatable(device, deterministic=True),
    ):
        index = encode_shards(
            request, out, cores=own_cores(place.beside), progress=progress, command=shlex.join(command)
        )
    if place.first:
        assert index.latents is not None
        shape = "x".join(map(str, request.moments.shape[1:]))
        typer.echo(
            f"{out}: {images} in {counted(len(index.shards), 'shard')}, with latents of {shape} and "
            f"{index.latents.channels} channels, scale {index.latents.scale:.6g}"
        )
    return 0


def _estimate(request: Request, out: Path) -> str:
    images = sum(shard.bytes for shard in request.source.shards)
    latents, free = request.bytes - images, shutil.disk_usage(out).free
    return (
        f"{out} will hold about {request.bytes / 1e6:,.1f} MB: {images / 1e6:,.1f} of images and labels, "
        f"{latents / 1e6:,.1f} of latents; its disk has {free / 1e6:,.0f} MB free"
    )
