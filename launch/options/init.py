"""Options of `hrgan init`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """What `hrgan init` is asked for."""

    photos: Annotated[
        str, typer.Argument(metavar="PHOTOS", help="The pictures: whatever hrgan prepare takes as SOURCE.")
    ]
    out: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT", help="The configuration to write; without it, PHOTOS.yaml in this folder."
        ),
    ] = None
    resolution: Annotated[
        int | None,
        typer.Option(help="Pixels a side; without it, what the pictures have and this machine can train."),
    ] = None
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="The kind of GAN; without it, the usual choice.")
    ] = None
    hours: Annotated[
        float | None,
        typer.Option(min=0.001, help="How long to train; without it, 24 hours on GPUs and 8 on a CPU."),
    ] = None
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="SNAPSHOT_OR_RUN",
            help="Begin with the weights of a snapshot, or of a run, which has a discriminator too.",
        ),
    ] = None
    labels: Annotated[
        str,
        typer.Option(metavar="auto|folders|none|FILE", help="Where classes come from, as in hrgan prepare."),
    ] = "auto"
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="In a folder, follow links, as in hrgan prepare.")
    ] = False
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs to plan for; without it, those that are here.")
    ] = None
    measure: Annotated[
        bool | None,
        typer.Option(
            "--measure/--no-measure",
            help="Train a few steps on noise to know time and memory; without it, on a CPU alone.",
        ),
    ] = None
