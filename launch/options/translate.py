"""Options of `hrgan translate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.options.computing import Device


@dataclass(frozen=True, kw_only=True)
class TranslateOptions:
    """What `hrgan translate` is asked for."""

    source: Annotated[
        Path,
        typer.Argument(metavar="SNAPSHOT_OR_RUN", help="A snapshot, or a run: its newest snapshot."),
    ]
    given: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="One picture, or any source of pictures of any size that hrgan prepare takes."
        ),
    ]
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for pictures of the same names.")]
    holes: Annotated[
        str | None,
        typer.Option(
            metavar="MASKS",
            help="For models that fill holes: a source of masks under the same names, white where an image "
            "is to be made anew.",
        ),
    ] = None
    back: Annotated[
        bool,
        typer.Option("--back", help="The other direction, of a model that has learnt two (CycleGAN)."),
    ] = False
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="Translate in squares of so many pixels a side, which bound memory; 0: in one piece. "
            "Without it, 256 for models whose pixels depend on their surroundings alone, else one piece.",
        ),
    ] = None
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="Pixels around each square that it is translated with; without it, 32, or fewer if the "
            "model sees fewer.",
        ),
    ] = None
    format: Annotated[Literal["png", "jpg", "webp"], typer.Option(help="Format of the pictures.")] = "png"
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Quality of jpg and webp; webp at 100 is lossless.")
    ] = 95
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise of models that have any.")] = 0
    device: Device = "auto"
