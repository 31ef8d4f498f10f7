"""`hrgan generate`: new images from a trained generator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launch.evaluate import Device
from launch.prepare import Format
from pipeline.errors import UserError

if TYPE_CHECKING:
    import torch

    from pipeline.generation.request import Request
    from pipeline.storage.snapshots import Snapshot


def generate(
    source: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT_OR_RUN", help="A snapshot, or a run: its newest.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of shards or, with --grid, one picture's file name.")
    ],
    count: Annotated[int, typer.Option(min=1, help="How many images.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the first image; image i has seed + i.")] = 0,
    truncation: Annotated[
        float, typer.Option(metavar="PSI", help="1: as trained; 0: the average image.")
    ] = 1.0,
    classes: Annotated[
        str | None, typer.Option(help="Class names or numbers in turn, such as 0,3-5; else by the seed.")
    ] = None,
    format: Annotated[Format, typer.Option(help="Format of the images inside the shards.")] = Format.png,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of jpg (95) and webp (90; 100 is lossless).")
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="One picture of all images (.png, .jpg, .webp) instead of shards.")
    ] = False,
    columns: Annotated[
        int | None, typer.Option(min=1, help="Of the grid; else one a class, or about as many as rows.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Images a shard.")] = 1000,
    batch: Annotated[int, typer.Option("--batch", "--batch-size", min=1, help="Images at once.")] = 16,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
) -> int:
    """Make new images: shards, or one picture.

    Each image is a function of its own seed. The same command again goes on after a stop.

    \b
    Examples:
      hrgan generate out/quickstart/run out/quickstart/generated --count 1000
      hrgan generate runs/faces faces.png --count 64 --grid --truncation 0.7
      hrgan generate runs/faces/snapshots/000025000000 more --count 50000 --seed 1000000 --format webp
    """
    from launch.sampling import choose_device, sampler_of
    from pipeline.generation.generate import generate_shards
    from pipeline.generation.grid import generate_grid
    from pipeline.storage.snapshots import open_snapshot

    given = {"count": count, "seed": seed, "truncation": truncation, "classes": classes, "format": format}
    given |= {"quality": quality, "grid": grid, "columns": columns, "batch": batch}
    snapshot, where = open_snapshot(source), choose_device(device.value)
    request = request_of(snapshot, given, where)
    progress = sys.stderr.isatty()
    if grid:
        generate_grid(request, lambda: sampler_of(snapshot, where), out, columns=columns, progress=progress)
        typer.echo(f"{out}: {count} images")
        return 0
    index = generate_shards(
        request, lambda: sampler_of(snapshot, where), out, shard_size=shard_size, progress=progress
    )
    typer.echo(f"{out}: {index.count} images in {len(index.shards)} shards")
    return 0


def request_of(snapshot: Snapshot, given: Mapping[str, Any], device: torch.device) -> Request:
    """The options of the command, by name, as a request. UserError for one that this snapshot cannot meet."""
    from pipeline.generation.classes import parse_classes
    from pipeline.generation.request import Request

    if given["columns"] is not None and not given["grid"]:
        raise UserError("--columns: belongs to --grid; add --grid, or leave it out")
    classes, names = given["classes"], snapshot.classes
    return Request(
        snapshot,
        given["count"],
        seed=given["seed"],
        truncation=given["truncation"],
        classes=parse_classes(classes, names, snapshot.spec.classes) if classes is not None else (),
        kind=given["format"].value,
        quality=given["quality"],
        batch_size=given["batch"],
        device=device,
        for_shards=not given["grid"],
    )
