"""`hrgan measure-data`: how fast a data set is read here, and how many GPUs that feeds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from launch.options.declared import takes_options
from launch.options.measure_data import MeasureDataOptions
from pipeline.words import counted, table

if TYPE_CHECKING:
    from pipeline.data.shards.index import ShardIndex
    from pipeline.data.streaming.measuring import Alone, Speed

_RATES = Path(__file__).with_name("gpu_rates.json")


@dataclass(frozen=True)
class Feed:
    """What one GPU takes: images_per_second, by `source`; and how many such GPUs are fed."""

    family: str
    size: str
    gpu: str
    images_per_second: float
    gpus_fed: float
    source: str


@takes_options
def measure_data(options: MeasureDataOptions) -> int:
    """Measure how fast a data set is read on this machine.

    Images are read, checked and decoded in the order of a run, by as many processes as --workers says, and by
    half and twice as many. A table says how many GPUs that feeds, as far as figures are published. "waiting"
    is the share of the workers' time in which they did not compute: for the store, or for a core that other
    programs held. What was read lately may still be in memory: a data set that is larger than memory, or that
    was not read before, shows what the store gives.

    \b
    Examples:
      hrgan measure-data shards
      hrgan measure-data shards --workers 8 --batch 64
      hrgan measure-data shards --seconds 20 --json
    """
    from pipeline.data.shards.index import ShardIndex
    from pipeline.data.streaming.measuring import Measurement

    index = ShardIndex.read(options.shards)
    measurement = Measurement(index)
    alone = measurement.alone(options.seconds)
    speeds = [measurement.together(count, options.batch, options.seconds) for count in options.counts]
    asked = next(speed for speed in speeds if speed.workers == options.workers)
    feeds = fed(index.height, asked.images_per_second)
    if options.as_json:
        typer.echo(json.dumps(_report(index, alone, speeds, feeds)))
    else:
        typer.echo("\n".join(_lines(index, alone, speeds, feeds, options)))
    return 0


def fed(resolution: int, images_per_second: float) -> list[Feed]:
    """How many GPUs of each kind with a known rate at this resolution so many images a second feed."""
    feeds = []
    for row in json.loads(_RATES.read_text()):
        if row["resolution"] == resolution:
            takes = 1000 / (row["seconds_per_kimg"] * row["gpus"])
            known = (row["family"], row["size"], row["gpu"])
            feeds.append(Feed(*known, takes, images_per_second / takes, row["source"]))
    return feeds


def _report(
    index: ShardIndex, alone: Alone, speeds: Sequence[Speed], feeds: Sequence[Feed]
) -> dict[str, object]:
    return {
        "data": str(index.root),
        "height": index.height,
        "width": index.width,
        "channels": index.channels,
        "cores": os.cpu_count(),
        "decoder": _decoder(alone.format),
        "alone": asdict(alone),
        "workers": [
            {**asdict(speed), "bytes_per_second": speed.images_per_second * alone.bytes} for speed in speeds
        ],
        "feeds": [asdict(feed) for feed in feeds],
    }


def _lines(
    index: ShardIndex,
    alone: Alone,
    speeds: Sequence[Speed],
    feeds: Sequence[Feed],
    options: MeasureDataOptions,
) -> list[str]:
    workers = counted(options.workers, "worker")
    lines = [
        f"{index.root}: {index.width}x{index.height}, {alone.format} of {alone.bytes / 1e3:.1f} kB an image, "
        f"decoded by {_decoder(alone.format)}",
        f"one process: {alone.read_ms:.2f} ms an image to read and check it, of which {alone.waiting_ms:.2f} "
        f"waiting; {alone.decode_ms:.2f} ms to decode it",
        "",
        table([_speed_row(speed, alone.bytes) for speed in speeds], _SPEED_HEADS, align="right"),
        "",
    ]
    if not feeds:
        return [*lines, f"What a GPU takes of {index.height} pixels is not known: no figure is published."]
    heads = ("family", "size", "GPU", "images/s", "GPUs fed", "from")
    rows = [
        (feed.family, feed.size, feed.gpu, f"{feed.images_per_second:.1f}", f"{feed.gpus_fed:.1f}",
         feed.source) for feed in feeds
    ]  # fmt: skip
    return [*lines, f"What a GPU takes, and how many {workers} in all feed:", table(rows, heads)]


_SPEED_HEADS = ("workers", "images/s", "MB/s", "ms a batch", "waiting")


def _speed_row(speed: Speed, size: float) -> tuple[str, ...]:
    rate = speed.images_per_second
    return (
        str(speed.workers),
        f"{rate:.1f}",
        f"{rate * size / 1e6:.1f}",
        f"{speed.batch_ms:.1f}",
        f"{speed.waiting:.0%}",
    )


def _decoder(format: str) -> str:
    from pipeline.images.decoders import FASTER

    faster = FASTER[format]
    if faster.installed:
        return faster.package
    return f"PIL ({faster.package} is faster: pip install 'hrgan[decoders]')"
