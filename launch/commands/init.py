"""`hrgan init`: from photographs to the configuration of a first run."""

from __future__ import annotations

from pathlib import Path

import typer

from launch.options.declared import takes_options
from launch.options.init import InitOptions
from pipeline.errors import UserError
from pipeline.words import tell


@takes_options
def init(options: InitOptions) -> int:
    """Write the configuration of a first run on photographs.

    It follows from a look at the pictures and at this machine. Each choice has a comment that says why; the
    commands to run are printed, and stand in the file.

    \b
    Examples:
      hrgan init photos
      hrgan init photos.zip faces.yaml --resolution 256 --hours 12
      hrgan init photos --from runs/faces/snapshots/000000200000
    """
    out = options.out or Path(f"{Path(options.photos.removesuffix('/')).stem.replace(':', '-')}.yaml")
    from launch.beginning.writing import commands, configuration, refuse_to_overwrite

    fault = refuse_to_overwrite(out)
    if fault is not None:
        raise UserError(fault)
    from launch.beginning.equipment import equipment
    from launch.beginning.estimating import estimated, settings_of
    from launch.beginning.photographs import look_at
    from launch.beginning.plan import planned
    from pipeline.storage.atomic import publish_bytes

    photos, machine = look_at(options.photos, options.labels, options.follow_links), equipment(out.parent)
    for line in (*photos.lines(), *machine.lines()):
        tell(line)
    plan = planned(options, photos, machine, out)
    settings_of(plan)  # refuses before anything is measured
    estimate = estimated(plan, options.measure)
    settings_of(plan, estimate)
    for line in plan.advice:
        tell(f"note: {line}")
    publish_bytes(out, configuration(plan, estimate).encode())
    typer.echo(
        f"{out}: {plan.family} at {plan.resolution}px, {'with' if plan.conditional else 'without'} classes, "
        f"{estimate.images:,} images"
    )
    typer.echo(f"hours: {estimate.hours}\nmemory: {estimate.memory}\n")
    for line in commands(plan):
        typer.echo(line)
    return 0
