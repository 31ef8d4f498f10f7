"""Options of `hrgan train`, which `hrgan submit train` takes too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from launch.options.computing import Processes


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which run: its settings and its folder."""

    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            help="A configuration: a file, or the name of one that hrgan brings (hrgan configs lists them).",
        ),
    ]
    overrides: Annotated[
        list[str],
        typer.Argument(metavar="KEY.PATH=VALUE", help="Settings that override those of the configuration."),
    ] = field(default_factory=list)
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; without it, runs/NAME for a configuration NAME.yaml."),
    ] = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run or Path("runs") / self.config.stem


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """What `hrgan train` is asked for."""

    processes: Processes = 1
