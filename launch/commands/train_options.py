"""The words of `hrgan train` that `hrgan submit train` takes too, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="A configuration: a file, or the name of one that comes with hrgan (hrgan configs lists them).",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY.PATH=VALUE", help="Settings that override the file's."),
]
Run = Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME-OF-THE-CONFIG if not given.")]


def run_folder(run: Path | None, config: Path) -> Path:
    """What `Run` means if it is not given."""
    return run or Path("runs") / config.stem
