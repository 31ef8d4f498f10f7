"""The order of the data at the size of a large cluster: the memory of a process, and the seconds until it has
images.

A data set of `--samples` in shards of 1,000 is laid out on disk (one real shard, under as many names as
needed). One rank of `--ranks` opens it as training does, at its beginning and in the middle of its third
epoch, in a process of its own, whose memory beyond the imports is reported. Then the images of some ranks
over a whole epoch are listed: none may come twice.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.stream import ImageStream
from tools.bench.machine import write_rows

SEED = 0


def lay_out(root: Path, samples: int, shard: int) -> None:
    """Lays out `samples` in shards of `shard` images, which are all links to one; the last shard must be
    full."""
    one = root.with_name(root.name + "-one")
    prepare("demo:digits", one, Asked(resolution=32, channels=1, count=shard, shard_size=shard))
    (real,) = ShardIndex.read(one).shards
    root.mkdir()
    names = [f"data-{number:06d}.tar" for number in range(samples // shard)]
    for name in names:
        (root / name).symlink_to(one / real.name)
    shards = tuple(replace(real, name=name) for name in names)
    replace(ShardIndex.read(one), root=root, shards=shards).write()


def measure(root: Path, ranks: int, sampled: int) -> dict[str, Any]:
    """Returns the figures of this process, which has not read an index before."""
    memory = psutil.Process().memory_info
    before, begun = memory().rss, time.perf_counter()
    index = ShardIndex.read(root)
    indexed = time.perf_counter() - begun
    first = first_images(index, ranks, 0)
    middle = first_images(index, ranks, 5 * index.count // 2)
    order = make_order(index, ranks)
    chosen = range(0, ranks, max(1, ranks // sampled))
    places = np.concatenate([epoch_of(order, index, rank, ranks, epoch=2) for rank in chosen])
    return {
        "samples": index.count,
        "ranks": ranks,
        "index_seconds": indexed,
        "first_seconds": first,
        "middle_seconds": middle,
        "megabytes": (memory().rss - before) / 1e6,
        "sampled_ranks": len(chosen),
        "sampled_images": len(places),
        "repeated": len(places) - len(np.unique(places)),
    }


def first_images(index: ShardIndex, ranks: int, position: int) -> float:
    """Returns the seconds until the last of `ranks` has its four images at a position of the run."""
    process = Process(ranks - 1, ranks)
    config = DataConfig(workers=0, lanes=_lanes(ranks))
    begun = time.perf_counter()
    with ImageStream(index, config, seed=SEED, process=process, images_seen=position, labels=False) as stream:
        (batch,) = stream.draw(4 * ranks)
    assert len(batch) == 4
    return time.perf_counter() - begun


def make_order(index: ShardIndex, ranks: int) -> Order:
    """Returns the order of the stream for this many ranks."""
    return Order([shard.count for shard in index.shards], seed=SEED, lanes=_lanes(ranks))


def epoch_of(order: Order, index: ShardIndex, rank: int, ranks: int, epoch: int) -> np.ndarray[Any, Any]:
    """Returns the samples that a rank draws in an epoch, as numbers in the data set."""
    starts = np.concatenate([[0], np.cumsum([shard.count for shard in index.shards])])
    begin = epoch * order.total
    first = begin + (rank - begin) % ranks
    places = [order.locate(position) for position in range(first, begin + order.total, ranks)]
    return np.array([starts[place.shard] + place.member for place in places], dtype=np.int64)


def _lanes(ranks: int) -> int:
    return max(64, ranks)  # as many as ranks: each reads on where it was


def bench(samples: int, ranks: int, shard: int, sampled: int) -> dict[str, Any]:
    """Returns a row of figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        lay_out(root, samples, shard)
        command = [sys.executable, "-m", "tools.bench.order", "--worker", str(root)]
        command += ["--ranks", str(ranks), "--sampled", str(sampled)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    note = (
        f"{result['megabytes']:.0f} MB beyond the imports; {result['index_seconds']:.2f} s to read the index"
        f", {result['first_seconds']:.2f} s to the first images, {result['middle_seconds']:.2f} s to those "
        f"in the middle of epoch 3; {result['sampled_images']} images of {result['sampled_ranks']} ranks "
        f"in an epoch, {result['repeated']} of them twice"
    )
    return {
        "op": "index, order and first images", "size": f"{samples} samples, {ranks} ranks", "mode": "fwd",
        "ms": 1e3 * result["middle_seconds"], "vs_reference": None, "vs_peer": None, "floor_ms": None,
        **result, "note": note,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the row, and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the row here")
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--ranks", type=int, default=4096)
    parser.add_argument("--shard", type=int, default=1000, help="samples of a shard")
    parser.add_argument("--sampled", type=int, default=16, help="ranks whose epoch is listed")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        print(json.dumps(measure(options.worker, options.ranks, options.sampled)))
        return 0
    row = bench(options.samples, options.ranks, options.shard, options.sampled)
    print(row["op"], row["size"], row["note"], sep=" | ")
    write_rows(options.json, [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
