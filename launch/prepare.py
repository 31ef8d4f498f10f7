"""`hrgan prepare`: pictures to shards."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError


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


class Unreadable(StrEnum):
    """What to do with a file that cannot be read."""

    skip = "skip"
    error = "error"


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A folder, .zip or .tar of pictures, demo:digits or demo:faces."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the data set: shards and their index.json.")
    ],
    resolution: Annotated[
        int | None, typer.Option(help="Pixels a side; if not given, the size that all pictures share.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Height and width, for non-square pictures.")
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    filter: Annotated[
        Filter, typer.Option(help="Resize filter; it moves FID, so keep to one.")
    ] = Filter.lanczos,
    labels: Annotated[
        str,
        typer.Option(metavar="folders|none|FILE", help="Classes: top sub-folders, none, or a .json or .csv."),
    ] = "folders",
    format: Annotated[Format, typer.Option(help="Format of the pictures inside the shards.")] = Format.png,
    quality: Annotated[
        int, typer.Option(min=1, max=100, help="Of jpg and webp; webp at 100 is lossless.")
    ] = 95,
    shard_size: Annotated[int, typer.Option(min=1, help="Pictures a shard.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the shuffle, and of demo:faces.")] = 0,
    count: Annotated[
        int | None, typer.Option(min=1, help="At most this many pictures, drawn by the seed.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; if not given, one a core.")] = None,
    on_unreadable: Annotated[
        Unreadable, typer.Option(help="A file that cannot be read: name it and go on, or stop.")
    ] = Unreadable.skip,
    pyramid: Annotated[
        bool, typer.Option("--pyramid", help="Every lower resolution too, for networks that grow.")
    ] = False,
) -> int:
    """Make a data set of shards from pictures of any kind and size.

    Pictures are centre-cropped, resized and shuffled. The same command again goes on after a stop.
    With --pyramid, SOURCE may be OUT itself, a data set that gets its lower resolutions.

    \b
    Examples:
      hrgan prepare photos shards --resolution 256
      hrgan prepare photos.zip shards --size 256x192 --format jpg --labels labels.csv
      hrgan prepare demo:digits out/quickstart/data
      hrgan prepare demo:faces faces --resolution 1024 --count 5000
      hrgan prepare shards shards --pyramid
    """
    height, width = _height_width(size)
    from pipeline.data.prepare import prepare as make_shards

    report = make_shards(
        source,
        out,
        resolution=resolution,
        height=height,
        width=width,
        channels=1 if grey else 3,
        filter=filter.value,
        labels=labels,
        format=format.value,
        quality=quality,
        shard_size=shard_size,
        seed=seed,
        count=count,
        workers=workers,
        progress=sys.stderr.isatty(),
        on_unreadable=on_unreadable.value,
        pyramid=pyramid,
    )
    for line in report.lines():
        typer.echo(line)
    return 0


def _height_width(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    match = re.fullmatch(r"(\d+)[xX×](\d+)", size.strip())
    if not match:
        raise UserError(f"--size {size}: must be HEIGHTxWIDTH in pixels, such as 256x192")
    return int(match[1]), int(match[2])
