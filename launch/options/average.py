"""Options of `hrgan average`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from launch.options.computing import Device
from pipeline.config.run import WIDEST
from pipeline.config.units import parse_count
from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AverageOptions:
    """What `hrgan average` is asked for. UserError for a width or a position that cannot be."""

    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run whose snapshots keep averages.")]
    width: Annotated[
        float,
        typer.Option(
            metavar="WIDTH",
            help="Standard deviation of the average over the images seen, as a share of these; above 0 and "
            f"below {WIDEST}.",
        ),
    ]
    at: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="Position of a snapshot, such as 400k; without it, the newest."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A new folder for the snapshot, instead of RUN/averages/WIDTH/snapshots/IMAGES.",
        ),
    ] = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        checked_width(self.width, "--width")
        position(self.at)


def checked_width(width: float, option: str) -> float:
    """The width, or UserError for one that no average has."""
    if not 0 < width < WIDEST:
        raise UserError(f"{option} {width:g}: must be above 0 and below {WIDEST}")
    return width


def position(at: str | None) -> int | None:
    """The images that `--at` names. UserError if it is no count."""
    if at is None:
        return None
    try:
        return int(str(parse_count(at)))
    except ValueError as error:
        raise UserError(f"--at {at}: {error}") from error
