"""`hrgan prepare` beside a bare loop: images/s and core-ms an image, from 1024 to 256 pixels.

The bare loop: as many processes, each of which opens its share of the files with PIL, resizes with the same
filter, encodes a PNG at the same level and throws it away. No orientation, profile or depth, no shuffle, no
checksum, no report. The start of processes counts for both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.sources.faces.portrait import portrait
from pipeline.data.sources.faces.traits import traits
from pipeline.images.codec import encode
from tools.bench.budget import Budget, add_minutes
from tools.bench.loader import Cost
from tools.bench.machine import write_rows

FROM, TO = 1024, 256


def main() -> None:
    """Measures all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved measurements of each kind")
    parser.add_argument("--images", type=int, default=96, help="pictures that are prepared")
    add_minutes(parser, 1)
    arguments = parser.parse_args()
    budget = Budget(arguments.minutes, ["prepare"])
    rows: list[dict[str, Any]] = []
    if budget.begins("prepare"):
        rows = prepare_rows(arguments.images, budget.turns(arguments.rounds))
    for row in rows:
        print(row["op"], row["size"], row["note"], sep=" | ", flush=True)
    budget.report()
    write_rows(arguments.json, rows)


def prepare_rows(images: int, rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Returns a row for one and for two workers, with medians of interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder, "pictures"), images)
        costs: dict[tuple[str, int], list[Cost]] = {}
        for turn in rounds:
            for workers in (1, 2):
                out = Path(folder, f"out-{turn}-{workers}")
                both: dict[str, Callable[[], object]] = {
                    "bare": lambda workers=workers: bare(files, workers),  # type: ignore[misc]
                    "ours": lambda workers=workers, out=out: prepared(files, workers, out),  # type: ignore[misc]
                }
                for name, call in both.items():
                    costs.setdefault((name, workers), []).append(cost_of(call).each(images))
    return [_row(workers, costs["ours", workers], costs["bare", workers]) for workers in (1, 2)]


def pictures(folder: Path, count: int) -> list[Path]:
    """Writes drawn faces with grain as JPEGs, and returns their paths."""
    folder.mkdir()
    noise, files = np.random.default_rng(0), []
    for number in range(count):
        drawn = portrait(traits(0, number), FROM) + noise.normal(0, 3, (FROM, FROM, 3))
        files.append(folder / f"{number:05d}.jpg")
        files[-1].write_bytes(encode(np.clip(drawn + 0.5, 0, 255).astype(np.uint8), "jpg"))
    return files


def prepared(files: list[Path], workers: int, out: Path) -> None:
    """Makes shards of the files' folder."""
    prepare(files[0].parent, out, Asked(resolution=TO), workers=workers)


def bare(files: list[Path], workers: int) -> None:
    """Resizes and encodes each file in as many processes."""
    if workers == 1:
        resize(files)
        return
    context = multiprocessing.get_context("fork")
    crew = [context.Process(target=resize, args=(files[k::workers],)) for k in range(workers)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()


def resize(files: list[Path]) -> None:
    """Opens, resizes and encodes the files one after the other."""
    for file in files:
        with Image.open(file) as picture:
            small = picture.convert("RGB").resize((TO, TO), Image.Resampling.LANCZOS)
        encode(small, "png", effort="small")


def cost_of(call: Callable[[], object]) -> Cost:
    """Returns what a call takes, its processes included, which must have ended."""
    began, before = time.perf_counter(), _cores()
    call()
    return Cost(time.perf_counter() - began, _cores() - before)


def _cores() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _row(workers: int, ours: list[Cost], loop: list[Cost]) -> dict[str, Any]:
    wall, cpu = (statistics.median(values) for values in zip(*ours, strict=True))
    bare_wall, bare_cpu = (statistics.median(values) for values in zip(*loop, strict=True))
    return {
        "op": f"prepare, {workers} worker{'s' if workers > 1 else ''}",
        "size": f"{FROM}px to {TO}px",
        "mode": "fwd",
        "ms": wall,
        "vs_reference": bare_wall / wall,
        "vs_peer": None,
        "floor_ms": bare_wall,
        "cpu_ms": cpu,
        "cpu_vs_reference": bare_cpu / cpu,
        "note": f"{1e3 / wall:.0f} images/s, bare {1e3 / bare_wall:.0f}, ratio {bare_wall / wall:.2f}; "
        f"{cpu:.2f} core-ms an image, bare {bare_cpu:.2f}, ratio {bare_cpu / cpu:.2f}",
    }


if __name__ == "__main__":
    main()
