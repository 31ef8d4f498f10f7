"""`hrgan average`: a snapshot with another average of a run's generator."""

from __future__ import annotations

import typer

from launch.options.average import AverageOptions, position
from launch.options.declared import takes_options
from pipeline.words import LOADING_SECONDS, note, patiently


@takes_options
def average(options: AverageOptions) -> int:
    """Choose the width of the averaged generator after training.

    A run's snapshots keep averages of a few widths (averages.widths). Any other is a mixture of these
    (Karras et al. 2024), and becomes a snapshot that every command takes. hrgan evaluate RUN --widths
    compares several.

    \b
    Examples:
      hrgan average runs/faces --width 0.03
      hrgan average runs/faces --width 0.1 --at 2M --out chosen
    """
    with patiently("loading torch", seconds=LOADING_SECONDS):
        from launch.assembly.averaging import average as make
        from launch.assembly.sampling import choose_device

    with patiently(f"mixing the averages of {options.run}"):
        made = make(
            options.run,
            options.width,
            position(options.at),
            choose_device(options.device),
            note,
            options.out,
        )
    recipe = made.recipe
    typer.echo(
        f"{made.folder}: width {recipe.width:g} at {recipe.images_seen:,} images, of "
        f"{len(recipe.parts)} stored averages; its profile is matched within {recipe.mixture.error:.2g}"
    )
    return 0
