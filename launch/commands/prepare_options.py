"""The options of `hrgan prepare`, each with its help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.data.sources.labels import ALLOWED
from pipeline.images.kinds import KINDS


class Filter(StrEnum):
    """Resize filters, as the data set's index records them."""

    box = "box"
    bilinear = "bilinear"
    bicubic = "bicubic"
    lanczos = "lanczos"


class Format(StrEnum):
    """Picture formats inside the shards."""

    png = "png"
    jpg = "jpg"
    webp = "webp"


class OnFault(StrEnum):
    """What to do with a file that cannot be read, or a label of no picture."""

    skip = "skip"
    error = "error"


Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder, .zip or .tar of pictures, demo:digits or demo:faces. Kinds of pictures: "
        f"{', '.join(kind.name for kind in KINDS)}.",
    ),
]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder of the data set: shards and their index.json.")
]
Resolution = Annotated[
    int | None, typer.Option(help="Pixels a side; if not given, the size that all pictures share.")
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="HxW",
        help="Height and width, for pictures that are not square: only `family.name: mlp` trains on them, "
        "every other family needs --resolution.",
    ),
]
Grey = Annotated[bool, typer.Option("--grey", help="One channel instead of three.")]
FilterName = Annotated[Filter, typer.Option(help="Resize filter; it moves FID, so keep to one.")]
Labels = Annotated[
    str,
    typer.Option(
        metavar="auto|folders|folders:2|none|FILE",
        help="Classes. auto: what the source brings along (dataset.json, .cls), else its top folders, "
        "unless they look like splits or blocks. folders: top folders in any case; folders:2: those in "
        f"them. FILE: a name and a class in each row; {ALLOWED}.",
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of FILE with the classes, by its title, or number from 1."),
]
OnAbsent = Annotated[
    OnFault, typer.Option(help="A row of FILE whose picture is not in SOURCE: leave it out, or stop.")
]
FollowLinks = Annotated[
    bool,
    typer.Option("--follow-links", help="In a folder, follow links to folders and links out of it, too."),
]
Range = Annotated[
    str | None,
    typer.Option(
        metavar="LOW:HIGH",
        help="Values that become black and white, of pixels with more than 8 bits; else 0:65535.",
    ),
]
Background = Annotated[
    str, typer.Option(metavar="COLOUR", help="Below transparent parts: a name, or #rrggbb.")
]
FormatName = Annotated[Format, typer.Option(help="Format of the pictures inside the shards.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of jpg and webp; webp at 100 is lossless.")]
ShardSize = Annotated[int, typer.Option(min=1, help="Pictures a shard.")]
Seed = Annotated[int, typer.Option(help="Of the shuffle, and of demo:faces.")]
Count = Annotated[int | None, typer.Option(min=1, help="At most this many pictures, drawn by the seed.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; if not given, one a core.")]
OnUnreadable = Annotated[
    OnFault, typer.Option(help="A file that cannot be read: name it and go on, or stop.")
]
Pyramid = Annotated[
    bool, typer.Option("--pyramid", help="Every lower resolution too, for networks that grow.")
]
