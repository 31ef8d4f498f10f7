"""The tools of `hrgan explore` that show what latents make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.commands.evaluate import Device
from launch.commands.explore_options import (
    Batch,
    Classes,
    Layers,
    Moving,
    Out,
    PerSecond,
    Psi,
    Seeds,
    Steps,
    Strength,
    Way,
    Where,
    done,
    points_of,
    subject_of,
)
from pipeline.errors import UserError


def truncation(
    context: typer.Context,
    out: Out,
    seeds: Seeds = "0-7",
    psi: Annotated[
        str, typer.Option(metavar="LIST", help="Truncations, a column each.")
    ] = "0,0.25,0.5,0.75,1",
    classes: Classes = None,
    batch: Batch = 16,
    device: Where = Device.auto,
) -> int:
    """A row a seed, a column a truncation.

    \b
    Examples:
      hrgan explore runs/faces truncation psi.png --seeds 0-7 --psi 0,0.5,0.7,1
    """
    from pipeline.exploration.numbers import parse_values
    from pipeline.exploration.views import sweep

    values = parse_values(psi, "--psi", -2, 2)
    subject = subject_of(context, batch, device, out)
    return done(out, sweep(subject, out, points_of(subject, seeds, classes, 1.0), values))


def interpolate(
    context: typer.Context,
    out: Moving,
    seeds: Seeds = "0-3",
    classes: Classes = None,
    way: Annotated[
        Way, typer.Option(help="w: linear, after the mapping network. z: spherical, before it.")
    ] = Way.w,
    steps: Steps = 8,
    grid: Annotated[bool, typer.Option("--grid", help="Between four points, one a corner.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="From the last point back to the first.")] = False,
    fps: PerSecond = 20.0,
    psi: Psi = 1.0,
    batch: Batch = 16,
    device: Where = Device.auto,
) -> int:
    """From seed to seed, from class to class: strips, grids, films.

    \b
    Examples:
      hrgan explore runs/faces interpolate strip.png --seeds 0-4
      hrgan explore runs/faces interpolate corners.png --seeds 3,8,11,40 --grid --way z
      hrgan explore runs/digits interpolate classes.gif --seeds 7 --classes 0-9 --steps 20 --loop
    """
    from pipeline.exploration.animation import is_animation
    from pipeline.exploration.views import corners
    from pipeline.exploration.views import interpolate as between

    if grid and (loop or is_animation(out)):
        raise UserError(f"{out}: --grid makes a picture, and no --loop; allowed endings: .png, .jpg")
    subject = subject_of(context, batch, device, out)
    points = points_of(subject, seeds, classes, psi)
    if grid:
        return done(out, corners(subject, out, points, way=way.value, steps=steps))
    kept = between(subject, out, points, way=way.value, steps=steps, loop=loop, per_second=fps)
    return done(out, kept)


def mix(
    context: typer.Context,
    out: Out,
    seeds: Seeds = "0-4",
    columns: Annotated[
        str, typer.Option(metavar="LIST", help="Seeds that give the layers' styles.")
    ] = "10-15",
    layers: Layers = None,
    classes: Classes = None,
    psi: Psi = 1.0,
    batch: Batch = 16,
    device: Where = Device.auto,
) -> int:
    """Style mixing: some layers' styles from another seed.

    Rows take the layers' styles of the columns; without --layers, the upper half of the layers.

    \b
    Examples:
      hrgan explore runs/faces mix mix.png --seeds 0-4 --columns 20-25 --layers 8-17
    """
    from pipeline.exploration.numbers import parse_seeds
    from pipeline.exploration.views import mix as mixed

    subject = subject_of(context, batch, device, out)
    points = points_of(subject, seeds, classes, psi)
    return done(out, mixed(subject, out, points, parse_seeds(columns, "--columns"), layers))


def walk(
    context: typer.Context,
    out: Moving,
    along: Annotated[Path, typer.Option(metavar="FILE", help="The .safetensors of a direction.")],
    number: Annotated[int, typer.Option(min=0, help="Which of its directions.")] = 0,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Codes that a tool kept, instead of seeds.")
    ] = None,
    seeds: Seeds = "0-3",
    strength: Strength = 1.0,
    steps: Steps = 7,
    fps: PerSecond = 10.0,
    classes: Classes = None,
    psi: Psi = 1.0,
    batch: Batch = 16,
    device: Where = Device.auto,
) -> int:
    """Walk along a direction that was kept.

    From seeds, or from a projected photograph.

    \b
    Examples:
      hrgan explore runs/faces walk older.png --along age.safetensors --seeds 0-5 --strength 2
      hrgan explore runs/faces walk me.gif --along sefa.safetensors --number 2 --from me.safetensors
    """
    from pipeline.exploration.directions import Walked, walk_along
    from pipeline.exploration.numbers import spread

    subject = subject_of(context, batch, device)
    points = points_of(subject, seeds, classes, psi)
    walk_along(subject, out, points, Walked(along, number, start), spread(strength, steps), fps)
    typer.echo(f"{out}")
    return 0
