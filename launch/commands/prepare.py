"""`hrgan prepare`: pictures to shards."""

from __future__ import annotations

import sys

import typer

from launch.options.declared import takes_options
from launch.options.prepare import PrepareOptions
from pipeline.words import tell


@takes_options
def prepare(options: PrepareOptions) -> int:
    """Make a data set of shards from pictures of any kind and size.

    Pictures are cropped to their centre, resized and shuffled. The same command again continues after a stop.
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
    height, width = options.height_width
    from pipeline.data.preparing.prepare import prepare as make_shards
    from pipeline.data.preparing.settings import Asked

    report = make_shards(
        options.source,
        options.out,
        Asked(
            resolution=options.resolution,
            height=height,
            width=width,
            channels=1 if options.grey else 3,
            filter=options.filter,
            labels=options.labels,
            label_column=options.label_column,
            caption_column=options.caption_column,
            class_names=options.class_names,
            on_absent=options.on_absent,
            follow_links=options.follow_links,
            range=options.low_high,
            background=options.background,
            format=options.format,
            quality=options.quality,
            shard_size=options.shard_size,
            seed=options.seed,
            count=options.count,
            on_unreadable=options.on_unreadable,
            pyramid=options.pyramid,
        ),
        workers=options.workers,
        progress=sys.stderr.isatty(),
        say=tell,
    )
    for line in report.lines():
        typer.echo(line)
    return 0
