"""Options of `hrgan encode`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.options.computing import Device, Processes
from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """What `hrgan encode` is asked for. UserError for a scale that is none."""

    source: Annotated[
        str, typer.Argument(metavar="SHARDS", help="A data set of shards, on disk or in a store.")
    ]
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder for the shards.")]
    codec: Annotated[
        Path,
        typer.Option(
            "--codec",
            metavar="SNAPSHOT",
            help="The autoencoder: a snapshot, a run (its newest snapshot), or a .safetensors file.",
        ),
    ]
    scale: Annotated[
        str,
        typer.Option(
            metavar="data|codec|NUMBER",
            help="What models multiply latents by. data: 1 / their standard deviation here; codec: what the "
            "autoencoder says, such as 0.18215.",
        ),
    ] = "data"
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option(help="Type in which the latents are stored.")
    ] = "float16"
    shard_size: Annotated[int, typer.Option(min=1, help="Images in each shard.")] = 1000
    batch: Annotated[
        int, typer.Option("--batch", "--batch-size", min=1, help="Images encoded at once on a GPU.")
    ] = 16
    device: Device = "auto"
    processes: Processes = 1
    cache: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where to keep shards that lie in a store."),
    ] = None

    def __post_init__(self) -> None:
        self.settled_scale()

    def settled_scale(self) -> float | Literal["data", "codec"]:
        """The scale, as a number if it is one."""
        if self.scale in ("data", "codec"):
            return "data" if self.scale == "data" else "codec"
        try:
            number = float(self.scale)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise UserError(f"--scale {self.scale}: allowed: data, codec or a number above 0")
        return number
