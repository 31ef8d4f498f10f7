"""The tools of `hrgan explore` that show what latents make."""

from __future__ import annotations

import typer

from launch.options.declared import takes_options
from launch.options.explore import (
    InterpolateOptions,
    MixOptions,
    OrbitOptions,
    RotateOptions,
    SlitOptions,
    TranslateOptions,
    TruncationOptions,
    WalkOptions,
)
from pipeline.errors import UserError


@takes_options
def truncation(context: typer.Context, options: TruncationOptions) -> int:
    """Show each seed in a row, and each truncation in a column.

    \b
    Examples:
      hrgan explore runs/faces truncation psi.png --seeds 0-7 --psi 0,0.5,0.7,1
    """
    from launch.assembly.exploring import done, points_of, subject_of
    from pipeline.exploration.numbers import parse_values
    from pipeline.exploration.views import sweep

    psis = parse_values(options.psi, "--psi", -2, 2)
    subject = subject_of(context, options.compute, options.out)
    return done(options.out, sweep(subject, options.out, points_of(subject, options.images), psis))


@takes_options
def interpolate(context: typer.Context, options: InterpolateOptions) -> int:
    """Go from seed to seed and from class to class: strips, grids, films.

    \b
    Examples:
      hrgan explore runs/faces interpolate strip.png --seeds 0-4
      hrgan explore runs/faces interpolate corners.png --seeds 3,8,11,40 --grid --way z
      hrgan explore runs/digits interpolate classes.gif --seeds 7 --classes 0-9 --steps 20 --loop
      hrgan explore runs/faces interpolate film.mp4 --seeds 0-9 --steps 60 --loop --steady
    """
    from launch.assembly.exploring import done, points_of, subject_of
    from pipeline.exploration.animation import is_animation
    from pipeline.exploration.views import corners
    from pipeline.exploration.views import interpolate as between

    out, way, steps = options.out, options.way, options.steps
    if options.grid and (options.loop or is_animation(out)):
        raise UserError(f"{out}: --grid makes one picture, without --loop; allowed endings: .png, .jpg")
    if options.grid and options.steady:
        raise UserError("interpolate --grid: has no way to keep one speed on; leave --steady out")
    subject = subject_of(context, options.compute, out)
    points = points_of(subject, options.points)
    if options.grid:
        return done(out, corners(subject, out, points, way=way, steps=steps))
    kept = between(
        subject,
        out,
        points,
        way=way,
        steps=steps,
        loop=options.loop,
        per_second=options.fps,
        steady=options.steady,
    )
    return done(out, kept)


@takes_options
def mix(context: typer.Context, options: MixOptions) -> int:
    """Mix styles: some layers take theirs from another seed.

    In each row, the layers take the styles of the columns; without --layers, the upper half of the layers.

    \b
    Examples:
      hrgan explore runs/faces mix mix.png --seeds 0-4 --columns 20-25 --layers 8-17
    """
    from launch.assembly.exploring import done, points_of, subject_of
    from pipeline.exploration.numbers import parse_seeds
    from pipeline.exploration.views import mix as mixed

    subject = subject_of(context, options.compute, options.out)
    points = points_of(subject, options.points)
    columns = parse_seeds(options.columns, "--columns")
    return done(options.out, mixed(subject, options.out, points, columns, options.layers))


@takes_options
def walk(context: typer.Context, options: WalkOptions) -> int:
    """Walk along a direction that a tool has kept.

    The walk begins at seeds, or at a photograph that was projected.

    \b
    Examples:
      hrgan explore runs/faces walk older.png --along age.safetensors --seeds 0-5 --strength 2
      hrgan explore runs/faces walk me.gif --along sefa.safetensors --number 2 --from me.safetensors
    """
    from launch.assembly.exploring import points_of, subject_of
    from pipeline.exploration.directions import Walked, walk_along
    from pipeline.exploration.numbers import spread

    subject = subject_of(context, options.compute)
    points = points_of(subject, options.points)
    walked = Walked(options.along, options.number, options.start)
    walk_along(subject, options.out, points, walked, spread(options.strength, options.steps), options.fps)
    typer.echo(f"{options.out}")
    return 0


@takes_options
def translate(context: typer.Context, options: TranslateOptions) -> int:
    """Move the input of each image along a straight line, at one speed.

    A film goes there and back. Details that move with the image are what the generator makes of its input;
    details that stay where they are stick to the pixels.

    \b
    Examples:
      hrgan explore runs/faces translate moved.png --seeds 0-3 --by 0.25,0
      hrgan explore runs/faces translate moved.mp4 --seeds 0-3 --by 0.2,0.1 --steps 60
    """
    from launch.assembly.exploring import points_of, subject_of, translation_by
    from pipeline.exploration.views import move

    motion = translation_by(options.by, options.steps)
    subject = subject_of(context, options.compute)
    move(subject, options.out, points_of(subject, options.points), motion, per_second=options.fps)
    typer.echo(f"{options.out}")
    return 0


@takes_options
def rotate(context: typer.Context, options: RotateOptions) -> int:
    """Turn the input of each image about its middle, at one speed.

    A film of whole turns goes on in one direction; others go there and back.

    \b
    Examples:
      hrgan explore runs/faces rotate turned.png --seeds 0-3 --degrees 90
      hrgan explore runs/faces rotate turned.mp4 --seeds 0-3 --steps 120
    """
    from launch.assembly.exploring import points_of, subject_of
    from pipeline.exploration.motions import rotation
    from pipeline.exploration.views import move

    motion = rotation(options.degrees, options.steps)
    subject = subject_of(context, options.compute)
    move(subject, options.out, points_of(subject, options.points), motion, per_second=options.fps)
    typer.echo(f"{options.out}")
    return 0


@takes_options
def orbit(context: typer.Context, options: OrbitOptions) -> int:
    """Go around the scene that each image shows, at one speed.

    The way begins at the first azimuth that training has seen. A film of whole turns goes on in one
    direction; others go there and back.

    \b
    Examples:
      hrgan explore runs/heads orbit around.png --seeds 0-3
      hrgan explore runs/heads orbit around.mp4 --seeds 0-3 --steps 120
    """
    from launch.assembly.exploring import orbit_by, points_of, subject_of
    from pipeline.exploration.views import move

    subject = subject_of(context, options.compute)
    motion = orbit_by(subject, options.degrees, options.steps)
    move(subject, options.out, points_of(subject, options.points), motion, per_second=options.fps)
    typer.echo(f"{options.out}")
    return 0


@takes_options
def slit(context: typer.Context, options: SlitOptions) -> int:
    """Show one row of pixels over time, which goes downwards.

    Details that stick to the pixels make vertical lines. Each pair of neighbouring seeds, or each seed that
    is moved, has a column.

    \b
    Examples:
      hrgan explore runs/faces slit hair.png --seeds 0-4 --height 0.3
      hrgan explore runs/faces slit moved.png --seeds 0-3 --over translate --by 0.25,0
    """
    from launch.assembly.exploring import points_of, subject_of, translation_by
    from pipeline.exploration.motions import Motion, rotation
    from pipeline.exploration.routes import Way
    from pipeline.exploration.views import slit as seen_through

    over, steps = options.over, options.steps
    way: Motion | Way = "w"
    if over == "translate":
        way = translation_by(options.by, steps)
    elif over == "rotate":
        way = rotation(options.degrees, steps)
    subject = subject_of(context, options.compute, tool=over)
    points = points_of(subject, options.points)
    seen_through(subject, options.out, points, way, steps=steps, height=options.height)
    typer.echo(f"{options.out}")
    return 0
