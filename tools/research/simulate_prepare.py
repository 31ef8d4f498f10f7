"""What it costs to prepare up to ten million pictures: seconds, bytes, files, memory, jobs and hours.

Seconds and bytes of a picture are measured on this machine, stage by stage, with drawn portraits that were
saved as JPEG of twice the side. All else is counted from how data sets are written: a shard a block, three
small files a block while it is made, an index that lists every shard. --memory N measures the peak of a
process that lists N names, labels and shuffles them and looks for copies; their pictures are not made.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from pipeline.data.preparing.copies import find_copies
from pipeline.data.preparing.render import content_of
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.rows import Shard
from pipeline.data.shards.sink import ShardWriter
from pipeline.data.sources.classes import class_names, labelling
from pipeline.data.sources.demo_faces import FacesSource
from pipeline.data.sources.digest import listing_digest
from pipeline.data.sources.names import SortedNames, write_numbers
from pipeline.data.sources.source import Listing
from pipeline.images.codec import encode
from pipeline.images.normalised import Target, fit, read_picture
from pipeline.randomness import permutation
from pipeline.words import table

SIDES = (256, 1024)
IMAGES = (10_000, 100_000, 1_000_000, 10_000_000)
_PICTURES = 12
_SHARD = 1000  # pictures
_NAME_BYTES = 60  # of a picture: its name in the listing, where it ends, and its size
_FILES_AT_WORK = 3  # of each block while a data set is made: lock, record, contents
_T = TypeVar("_T")


@dataclass(frozen=True)
class Costs:
    """Of one picture: seconds of each stage on one core, and bytes of its sample in a shard."""

    side: int
    seconds: dict[str, float]
    sample_bytes: float


def measure(side: int, pictures: int = _PICTURES) -> Costs:
    """The costs of `pictures` portraits; of each stage the median."""
    files = [_photograph(number, side) for number in range(pictures)]
    target = Target(side, side, 3, "lanczos", "png", 95)
    seconds: dict[str, list[float]] = {}

    def timed(stage: str, work: Callable[..., _T], *given: object) -> _T:
        began = time.process_time()  # others use this machine too
        result = work(*given)
        seconds.setdefault(stage, []).append(time.process_time() - began)
        return result

    with tempfile.TemporaryDirectory() as folder:
        writer = ShardWriter(Path(folder, "data-00000.tar"))
        for number, data in enumerate(files):
            picture = timed("decode", read_picture, data).image
            timed("hash", content_of, picture)
            fitted = timed("crop, resize", fit, picture, target)
            image = timed("encode", encode, fitted, "png", 95, "small")
            timed("write", writer.add, f"{number:08d}", image, "png", 0, {"source": "x" * 40})
        shard = writer.publish()
    medians = {stage: float(np.median(times)) for stage, times in seconds.items()}
    return Costs(side, medians, shard.bytes / pictures)


def _photograph(number: int, side: int) -> bytes:
    """A portrait with noise, as cameras have it, saved as JPEG of twice the side."""
    drawn = FacesSource(number + 1, 0, min(2 * side, 1024)).picture(number).image
    pixels = np.asarray(drawn.resize((2 * side, 2 * side)), np.int16)
    noise = np.random.default_rng(number).normal(0, 4, pixels.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def rows(costs: Costs, images: Sequence[int], tasks: int, cores: int) -> list[tuple[str, ...]]:
    """A row for each number of images: what the data set is, and what it takes to make it."""
    second = sum(costs.seconds.values())
    made: list[tuple[str, ...]] = []
    for count in images:
        shards = math.ceil(count / _SHARD)
        index = len(json.dumps(_index(min(shards, 1000)).as_json(), indent=1)) * shards / min(shards, 1000)
        hours = count * second / 3600
        made.append(
            (
                str(costs.side),
                f"{count:,}",
                f"{count * costs.sample_bytes / 1e9:,.1f}",
                f"{shards:,}",
                f"{shards * (1 + _FILES_AT_WORK):,}",
                f"{index / 1e6:.1f}",
                f"{count * _NAME_BYTES / 1e6:.1f}",
                f"{hours:,.1f}",
                f"{hours / cores:,.2f}",
                f"{hours / (tasks * cores):,.2f}",
            )
        )
    return made


def _index(shards: int) -> ShardIndex:
    entries = tuple(Shard(f"data-{n:05d}.tar", _SHARD, 10**9, "0" * 64) for n in range(shards))
    return ShardIndex(Path(), entries, 256, 256, 3, (), {"source": "x"})


def heads(tasks: int, cores: int) -> tuple[str, ...]:
    """The titles of the columns of `rows`."""
    return (
        *("side", "images", "GB", "shards", "files at most", "index, MB", "names on disk, MB"),
        *("core hours", f"hours, {cores} cores", f"hours, {tasks} jobs of {cores}"),
    )


def peak_memory(count: int) -> float:
    """Megabytes that a new process takes at most to list `count` names and all that depends on them."""
    command = [sys.executable, "-m", "tools.research.simulate_prepare", "--list", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def list_names(count: int) -> None:
    """Lists `count` names, labels and shuffles them and looks for copies, as `prepare` does."""
    names = SortedNames()
    for number in range(count):
        names.add(f"photographs/class-{number % 100:02d}/{number * 7919 % count:08d}-of-a-camera.jpg")
    with tempfile.TemporaryDirectory() as room:
        listed = names.into(Path(room))
        listing = Listing(listed, write_numbers(Path(room, "sizes"), (100_000 for _ in range(count))))
    classes = labelling(listing, "simulated", "auto").classes or ()
    places = {name: place for place, name in enumerate(class_names(classes))}
    numbers = np.fromiter((places[name] for name in classes), np.int32, count)
    listing_digest(listing, numbers)
    order = permutation(count, 1)
    find_copies(order.astype(np.uint64))


def _peak_megabytes() -> float:
    """The most memory that this program had; getrusage would count the one that started it too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints tables. Exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.research.simulate_prepare", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100, help="jobs of the array")
    parser.add_argument("--cores", type=int, default=8, help="cores of each job")
    parser.add_argument("--memory", type=int, nargs="*", default=[], metavar="N", help="names to list")
    parser.add_argument("--list", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.list is not None:
        list_names(options.list)
        print(_peak_megabytes())
        return 0
    costs = [measure(side) for side in SIDES]
    stages = list(costs[0].seconds)
    print(table([(str(c.side), *(f"{1000 * c.seconds[s]:.2f}" for s in stages)) for c in costs],
                ("side, ms an image", *stages)))  # fmt: skip
    print()
    made = [row for one in costs for row in rows(one, IMAGES, options.tasks, options.cores)]
    print(table(made, heads(options.tasks, options.cores)))
    for count in options.memory:
        print(f"{count:,} names: {peak_memory(count):.0f} MB at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
