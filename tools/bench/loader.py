"""Loader images/s against a bare decode loop over the same JPEGs.

The bare loop: as many processes as the loader has workers, each calling the same JPEG decoder on its
share of the files, held in memory, and throwing the pixels away. No order, tar, label, check or batch.
The loader is timed twice: until the batch stands in one uint8 block, as a GPU host does it (the device
scales it), and until it is float32 in [-1, 1] on the CPU, which costs this machine's cores as well.

A third row at each size: images of 4px, as a network that grows draws them first, from the pyramid and by
reducing whole images (the row's reference).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.preparing.pyramid import build_pyramid
from pipeline.data.shards.decode import decode
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.sink import ShardSink
from pipeline.data.sources.faces.portrait import portrait
from pipeline.data.sources.faces.traits import traits
from pipeline.data.streaming.ahead import Stride
from pipeline.data.streaming.chunks import Decoder, chunk_size
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.slots import copy_numbers
from pipeline.data.streaming.stream import ImageStream
from pipeline.data.streaming.workers import WorkerChunks
from pipeline.images.codec import FormatName, encode
from tools.bench.budget import Budget, add_minutes
from tools.bench.machine import write_rows

WORKERS, LANES, BATCH = 2, 16, 32
_LEVEL_CHUNK = 64  # images that are decoded together where they are small


def main() -> None:
    """Measures all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved measurements of each kind")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024], help="pixels a side")
    add_minutes(parser, 1.5)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    kinds = {
        f"{name}, {side}px": (measure, side) for name, measure in KINDS.items() for side in arguments.sizes
    }
    budget = Budget(arguments.minutes, list(kinds))
    for name, (measure, side) in kinds.items():
        if budget.begins(name):
            measured = measure(side, budget.turns(arguments.rounds))
            for row in measured:
                print(row["op"], row["size"], row["note"], sep=" | ", flush=True)
            rows += measured
    budget.report()
    write_rows(arguments.json, rows)


def speed_rows(side: int, rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Returns the loader's two rows at one size, with medians of interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        index = photographs(Path(folder), side, count=512 if side <= 256 else 96)
        images = BATCH * (32 if side <= 256 else 3)
        kinds: dict[str, Callable[[], Cost]] = {
            "bare": lambda: bare(index, images),
            "uint8": lambda: blocks(index, images),
            "float32": lambda: floats(index, images),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in kinds}
        for _ in rounds:
            for name, measure in kinds.items():
                costs[name].append(measure().each(images))
    wall = {name: statistics.median(cost.wall for cost in values) for name, values in costs.items()}
    cpu = {name: statistics.median(cost.cpu for cost in values) for name, values in costs.items()}
    return [_speed_row(name, side, wall, cpu) for name in ("uint8", "float32")]


def level_rows(side: int, rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Returns rows for 4px from images of `side` pixels, with a pyramid and (as the reference) without;
    medians of rounds."""
    with tempfile.TemporaryDirectory() as folder:
        whole = photographs(Path(folder), side, count=512 if side <= 256 else 96)
        layered = build_pyramid(whole.folder)
        images = BATCH * (32 if side <= 256 else 3)
        costs: dict[str, list[Cost]] = {"pyramid": [], "reduced": []}
        for _ in rounds:
            for name, index, count in (("pyramid", layered, 32 * BATCH), ("reduced", whole, images)):
                costs[name].append(floats(index, count, resolution=4).each(count))
    wall = {name: statistics.median(cost.wall for cost in values) for name, values in costs.items()}
    cpu = {name: statistics.median(cost.cpu for cost in values) for name, values in costs.items()}
    ratio, cpu_ratio = wall["reduced"] / wall["pyramid"], cpu["reduced"] / cpu["pyramid"]
    row = {
        "op": f"loader of 4px from a pyramid, {WORKERS} workers",
        "size": f"{side}px",
        "mode": "fwd",
        "ms": wall["pyramid"],
        "vs_reference": ratio,
        "vs_peer": None,
        "floor_ms": None,
        "cpu_ms": cpu["pyramid"],
        "cpu_vs_reference": cpu_ratio,
        "note": f"{1e3 / wall['pyramid']:.0f} images/s, reduced {1e3 / wall['reduced']:.0f}, "
        f"ratio {ratio:.1f}; {cpu['pyramid']:.3f} core-ms an image, reduced {cpu['reduced']:.3f}, "
        f"ratio {cpu_ratio:.1f}",
    }
    return [row]


KINDS = {"loader": speed_rows, "pyramid": level_rows}


class Cost(NamedTuple):
    """Wall-clock time, and the time of all processes' cores together, in seconds."""

    wall: float
    cpu: float

    def each(self, images: int) -> Cost:
        """Milliseconds an image, from seconds."""
        return Cost(self.wall / images * 1e3, self.cpu / images * 1e3)


def now() -> Cost:
    """The clock, and the cores' time that this process and its children have used."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return Cost(time.perf_counter(), sum(t.user + t.system for t in times))


def since(began: Cost) -> Cost:
    """What it took."""
    ended = now()
    return Cost(ended.wall - began.wall, ended.cpu - began.cpu)


def photographs(folder: Path, side: int, count: int, format: FormatName = "jpg") -> ShardIndex:
    """Returns drawn faces with the grain of a sensor, so that their JPEGs are as large as those of
    photographs (0.4 bytes per pixel); without grain they would be half as large and quicker to decode."""
    noise = np.random.default_rng(0)
    with ShardSink(
        folder, name="bench", height=side, width=side, channels=3, shard_size=min(128, count // 4)
    ) as sink:
        for number in range(count):
            picture = portrait(traits(0, number), side) + noise.normal(0, 3, (side, side, 3))
            pixels = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
            sink.write(f"{number:08d}", encode(pixels, format, effort="small"), format)
    return ShardIndex.read(folder)


def _speed_row(name: str, side: int, wall: dict[str, float], cpu: dict[str, float]) -> dict[str, Any]:
    ratio, cpu_ratio = wall["bare"] / wall[name], cpu["bare"] / cpu[name]
    return {
        "op": f"loader to {name}, {WORKERS} workers",
        "size": f"{side}px",
        "mode": "fwd",
        "ms": wall[name],
        "vs_reference": ratio,
        "vs_peer": None,
        "floor_ms": wall["bare"],
        # On a machine that others use too, the cores' time says more than the clock.
        "cpu_ms": cpu[name],
        "cpu_vs_reference": cpu_ratio,
        "note": f"{1e3 / wall[name]:.0f} images/s, bare {1e3 / wall['bare']:.0f}, ratio {ratio:.2f}; "
        f"{cpu[name]:.2f} core-ms an image, bare {cpu['bare']:.2f}, ratio {cpu_ratio:.2f}",
    }


def bare(index: ShardIndex, images: int) -> Cost:
    """Returns what the bare loop costs to decode `images` of the files."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(WORKERS + 1)
    crew = [
        context.Process(target=_decode_share, args=(index, images // WORKERS, k, barrier))
        for k in range(WORKERS)
    ]
    for process in crew:
        process.start()
    barrier.wait()
    began = now()
    barrier.wait()
    cost = since(began)
    barrier.wait()
    for process in crew:
        process.join()
    return cost


def _decode_share(index: ShardIndex, images: int, first: int, barrier: Barrier) -> None:
    torch.set_num_threads(1)
    with ShardReader(index) as reader:
        places = [(s, m) for s, shard in enumerate(index.shards) for m in range(shard.count)]
        samples = [reader.read(*place) for place in places[first::WORKERS]]
    files, format = [sample.image for sample in samples], samples[0].extension
    decode(files[0], format, index.spec)
    barrier.wait()
    for turn in range(images):
        decode(files[turn % len(files)], format, index.spec)
    barrier.wait()
    barrier.wait()  # until the parent has looked at the clocks


def floats(index: ShardIndex, images: int, resolution: int | None = None) -> Cost:
    """Returns what the stream costs to deliver `images` as float32 on the CPU, after a first batch."""
    config = DataConfig(workers=WORKERS, lanes=LANES, mirror=True)
    with ImageStream(index, config, seed=0, process=Process(), images_seen=0, labels=False) as stream:
        size = chunk_size(index) if not index.levels or resolution is None else _LEVEL_CHUNK
        _drain(lambda: stream.draw(BATCH, resolution=resolution), size)
        began = now()
        for _ in range(images // BATCH):
            stream.draw(BATCH, resolution=resolution)
        return since(began)


def blocks(index: ShardIndex, images: int) -> Cost:
    """Returns what the workers cost to deliver images in one uint8 block per batch."""
    spec, size = index.spec, chunk_size(index)

    def make() -> Decoder:
        order = Order([shard.count for shard in index.shards], seed=0, lanes=LANES)
        return Decoder(index, order, skip=False)

    chunks = WorkerChunks(make, Stride(0, 1, size), spec, WORKERS, DataConfig().prefetch)
    block = torch.empty((size, spec.height, spec.width, spec.channels), dtype=torch.uint8)

    def take() -> None:
        chunk = chunks.next()
        copy_numbers(block, chunk.samples.images)
        chunk.release()

    _drain(take, size)
    began = now()
    turns = max(1, images // size)
    for _ in range(turns):
        take()
    cost = since(began)
    chunks.close()
    part = images / (turns * size)
    return Cost(cost.wall * part, cost.cpu * part)


def _drain(take: Callable[[], object], size: int) -> None:
    """Takes what was decoded ahead while the workers started, so that only steady work is timed."""
    ahead = WORKERS * DataConfig().prefetch * size
    for _ in range(-(-ahead // BATCH) + 1):
        take()


if __name__ == "__main__":
    main()
