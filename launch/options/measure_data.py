"""Options of `hrgan measure-data`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, kw_only=True)
class MeasureDataOptions:
    """What `hrgan measure-data` is asked for."""

    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="A data set of shards.")]
    workers: Annotated[
        int,
        typer.Option(min=1, max=256, help="Loader processes, as data.workers; half and twice as many, too."),
    ] = 2
    batch: Annotated[
        int, typer.Option(min=1, max=65536, help="Images that a training process takes in a step.")
    ] = 32
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="How long each number of processes is measured.")
    ] = 5.0
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False

    @property
    def counts(self) -> list[int]:
        """The numbers of workers that are measured, in order."""
        return sorted({max(1, self.workers // 2), self.workers, min(256, 2 * self.workers)})
