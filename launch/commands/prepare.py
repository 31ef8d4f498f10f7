"""`hrgan prepare`: pictures to shards."""

from __future__ import annotations

import re
import sys
from functools import partial

import typer

from launch.commands import prepare_options as options
from pipeline.errors import UserError


def prepare(
    source: options.Source,
    out: options.Out,
    resolution: options.Resolution = None,
    size: options.Size = None,
    grey: options.Grey = False,
    filter: options.FilterName = options.Filter.lanczos,
    labels: options.Labels = "auto",
    label_column: options.LabelColumn = None,
    on_absent: options.OnAbsent = options.OnFault.error,
    follow_links: options.FollowLinks = False,
    range: options.Range = None,
    background: options.Background = "white",
    format: options.FormatName = options.Format.png,
    quality: options.Quality = 95,
    shard_size: options.ShardSize = 1000,
    seed: options.Seed = 0,
    count: options.Count = None,
    workers: options.Workers = None,
    on_unreadable: options.OnUnreadable = options.OnFault.skip,
    pyramid: options.Pyramid = False,
) -> int:
    """Make a data set of shards from pictures of any kind and size.

    Pictures are centre-cropped, resized and shuffled. The same command again goes on after a stop.
    With --pyramid, SOURCE may be OUT itself, a data set that gets its lower resolutions.

    \b
    Examples:
      hrgan prepare photos shards --resolution 256
      hrgan prepare photos.zip shards --resolution 256 --format jpg --labels labels.csv
      hrgan prepare scans shards --resolution 512 --grey --range 0:4095
      hrgan prepare demo:digits out/quickstart/data
      hrgan prepare demo:faces faces --resolution 1024 --count 5000
      hrgan prepare shards shards --pyramid
    """
    height, width = _height_width(size)
    from pipeline.data.preparing.prepare import prepare as make_shards

    report = make_shards(
        source,
        out,
        resolution=resolution,
        height=height,
        width=width,
        channels=1 if grey else 3,
        filter=filter.value,
        labels=labels,
        label_column=label_column,
        on_absent=on_absent.value,
        follow_links=follow_links,
        range=_low_high(range),
        background=background,
        format=format.value,
        quality=quality,
        shard_size=shard_size,
        seed=seed,
        count=count,
        workers=workers,
        progress=sys.stderr.isatty(),
        on_unreadable=on_unreadable.value,
        pyramid=pyramid,
        say=partial(typer.echo, err=True),
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


def _low_high(range: str | None) -> tuple[float, float] | None:
    if range is None:
        return None
    low, _, high = range.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise UserError(f"--range {range}: must be LOW:HIGH, such as 0:4095 or -1000:3000") from error
