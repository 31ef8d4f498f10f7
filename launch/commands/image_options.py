"""The options of `hrgan generate`, each with its help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TruncationOrder(StrEnum):
    """How several truncations share the images."""

    sequence = "sequence"
    mixed = "mixed"


Source = Annotated[Path, typer.Argument(metavar="SNAPSHOT_OR_RUN", help="A snapshot, or a run: its newest.")]
Out = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="A folder for shards, or one picture of all (.png, .jpg, .webp)."),
]
Count = Annotated[int, typer.Option(min=1, help="How many images.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the first image; image i has seed + i.")]
Truncation = Annotated[
    str,
    typer.Option(
        metavar="PSI", help="1: as trained; 0: the average image (of the class); or several: 0.5,0.7,1."
    ),
]
Order = Annotated[
    TruncationOrder, typer.Option(help="Several: one after another, or in turn from image to image.")
]
ClassWords = Annotated[
    str | None, typer.Option(help="In turn: 0,3-5,cat or all; by weight: cat:3,dog:1; else by the seed.")
]
ClassesLike = Annotated[
    Path | None, typer.Option(metavar="SHARDS", help="Classes as often as these shards have them.")
]
Quality = Annotated[
    int | None, typer.Option(min=1, max=100, help="Of jpg (95) and webp (90; 100 is lossless).")
]
Grid = Annotated[
    bool, typer.Option("--grid", help="OUT is one picture of all images, as its ending says anyway.")
]
Columns = Annotated[
    int | None, typer.Option(min=1, help="Of the grid; else one a class, or about as many as rows.")
]
ShardSize = Annotated[int, typer.Option(min=1, help="Images a shard.")]
Batch = Annotated[
    int | None, typer.Option("--batch", "--batch-size", min=1, help="Images at once; 16, on a CPU 4.")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="The same bits on a GPU too, whatever the batch; slower.")
]
Processes = Annotated[
    int, typer.Option(min=1, help="Processes on this machine; torchrun and srun start more elsewhere.")
]
FilterWords = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="NAME:VALUE",
        help="discriminator:LOGIT, realism:SCORE (or a share such as 50%), duplicates:BITS; may be repeated.",
    ),
]
DiscriminatorOf = Annotated[
    Path | None,
    typer.Option(
        "--discriminator",
        metavar="RUN",
        help="Run, checkpoint or snapshot that has it; else SNAPSHOT_OR_RUN's.",
    ),
]
Reference = Annotated[
    Path | None, typer.Option(metavar="SHARDS", help="Training images, for realism and --neighbours.")
]
Neighbours = Annotated[
    bool, typer.Option("--neighbours", help="List and show the nearest training images of each image.")
]
Most = Annotated[int | None, typer.Option(min=1, help="Candidates at most, with --filter; else 20 an image.")]
Comparison = Annotated[
    str,
    typer.Option(
        "--extractor", metavar="NAME", help="Features to compare by: as of hrgan evaluate, or pixels."
    ),
]
Licence = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Of the images, for the data card, such as CC-BY-4.0.")
]
