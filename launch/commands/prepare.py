"""`hrgan prepare`: pictures to shards."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import typer

from launch.options.declared import command_line, takes_options
from launch.options.prepare import PrepareOptions
from pipeline.words import tell

if TYPE_CHECKING:
    from pipeline.data.preparing.report import PrepareReport


@takes_options
def prepare(options: PrepareOptions) -> int:
    """Make a data set of shards from pictures of any kind.

    Pictures are cropped to their centre, resized and shuffled. The same command again continues after a stop;
    given several times at once, on any machines that see OUT, it shares the work.
    With --pyramid, SOURCE may be OUT itself, a data set that gets its lower resolutions. With --in-place,
    shards that other programs have written are used as they are.

    \b
    Examples:
      hrgan prepare photos shards --resolution 256
      hrgan prepare photos.zip shards --resolution 256 --format jpg --labels labels.csv
      hrgan prepare 'tars/{000..127}.tar' shards --resolution 256 --caption-column txt
      hrgan prepare scans shards --resolution 512 --grey --range 0:4095
      hrgan prepare films frames --resolution 256 --every 2
      hrgan prepare horses shards --unpaired zebras --resolution 256
      hrgan prepare hf://OWNER/NAME:train shards --resolution 256
      hrgan prepare demo:digits out/quickstart/data
      hrgan prepare demo:faces faces --resolution 1024 --count 5000
      hrgan prepare shards shards --pyramid
      hrgan prepare others/shards shards --in-place
    """
    options.check()
    if len(options.sets) > 1:
        from pipeline.data.preparing.checking import check_unpaired

        sources = [one.source for one in options.sets]
        check_unpaired(sources, options.asked, in_place=options.in_place)
    for one in options.sets:
        report = _indexed(one) if one.in_place else _made(one)
        for line in report.lines():
            typer.echo(line)
    return 0


def _made(options: PrepareOptions) -> PrepareReport:
    from pipeline.data.preparing.ending import About
    from pipeline.data.preparing.prepare import prepare as make_shards

    command = ["hrgan", "prepare", *command_line(options, without=("workers",))]
    return make_shards(
        options.source,
        options.out,
        options.asked,
        workers=options.workers,
        progress=sys.stderr.isatty(),
        say=tell,
        about=About(shlex.join(command), not options.no_report),
    )


def _indexed(options: PrepareOptions) -> PrepareReport:
    from pipeline.data.preparing.in_place import prepare_in_place

    progress = sys.stderr.isatty()
    return prepare_in_place(
        options.source, options.out, options.asked, workers=options.workers, progress=progress
    )
