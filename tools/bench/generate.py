"""Images a second of `hrgan generate` against the bare generator, and what the encoders alone can do.

The bare generator: as many threads as cores, each drawing image after image with one thread of its own and
throwing the pixels away, as generate draws them on a CPU; or one that draws with all cores, if that is
faster. generate is timed from the moment its first shard is published, with encoding, checksums, writing and
syncing.

The generators are StyleGAN2's of configs/stylegan2-256.yaml and -1024.yaml, not trained.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from launch.assembly.operations import use_operations
from launch.assembly.sampling import sampler_of
from launch.assembly.trainer import family_of
from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec, Sampler, Stage
from pipeline.generation.computing import own_cores, repeatable
from pipeline.generation.generate import generate_shards
from pipeline.generation.request import Request
from pipeline.images.codec import NAMES, FormatName, encode
from pipeline.images.pictures import to_uint8
from pipeline.storage.snapshots import Snapshot, open_snapshot, write_snapshot
from tools.bench.budget import Budget, add_minutes
from tools.bench.machine import write_rows
from tools.bench.timing import OthersWatch

SHARDS = 3
DEVICE = torch.device("cpu")


def main() -> None:
    """Measures all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024], help="pixels a side")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the generator")
    parser.add_argument("--images", type=int, help="a shard; else 16 at 256px, 4 at 1024px")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved measurements of each kind")
    parser.add_argument("--formats", nargs="+", choices=NAMES, default=list(NAMES))
    add_minutes(parser, 2)
    options = parser.parse_args()
    use_operations("auto", DEVICE)
    rows: list[dict[str, Any]] = []
    budget = Budget(options.minutes, [f"{side}px" for side in options.sizes])
    for side in options.sizes:
        images = options.images or (16 if side <= 256 else 4)
        if budget.begins(f"{side}px"):
            rows += size_rows(side, options.set, images, budget.turns(options.rounds), options.formats)
    budget.report()
    write_rows(options.json, rows)


def size_rows(
    side: int, overrides: Sequence[str], images: int, rounds: Iterable[int], formats: Sequence[FormatName]
) -> list[dict[str, Any]]:
    """Returns a row per format at one size, with medians of interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = untrained(Path(folder, "run"), side, overrides)
        sampler = sampler_of(snapshot, DEVICE)
        pixels = to_uint8(sampler.draw([0]).images)[0].permute(1, 2, 0).contiguous().numpy()
        rates: dict[str, list[float]] = {name: [] for name in ("threads", "whole", *formats)}
        watch = OthersWatch()
        for turn in rounds:
            rates["threads"].append(by_threads(sampler, images * 2))
            rates["whole"].append(at_once(sampler, images))
            for kind in formats:
                out = Path(folder, f"{kind}-{turn}")
                rates[kind].append(generated(snapshot, sampler, out, images, kind))
        others = watch.cores()
        speed = {name: statistics.median(values) for name, values in rates.items()}
        bare = max(speed["threads"], speed["whole"])
        return [_row(side, kind, speed[kind], bare, encoders(pixels, kind), others) for kind in formats]


def untrained(run: Path, side: int, overrides: Sequence[str]) -> Snapshot:
    """Returns a snapshot of the configuration for this size, before any training."""
    config, spec = load_config(shipped(f"stylegan2-{side}"), list(overrides)), ImageSpec(side, side, 3, 0)
    torch.manual_seed(0)
    family = family_of(config, spec)
    folder = write_snapshot(
        run,
        family.networks().generator.state_dict(),
        family=config.family,
        spec=spec,
        classes=(),
        stage=Stage(side, 1.0, config.batch.size, {}),
        images_seen=0,
        step=0,
        world_size=1,
        config_digest="0" * 64,
        data={},
    )
    return open_snapshot(folder)


def by_threads(sampler: Sampler, images: int) -> float:
    """Returns images per second with as many threads as cores, each of which uses one thread for its
    operations."""
    with repeatable(DEVICE), ThreadPoolExecutor(own_cores()) as pool:
        return _rate(images, lambda: list(pool.map(lambda seed: sampler.draw([seed]), range(images))))


def at_once(sampler: Sampler, images: int) -> float:
    """Returns images per second of one draw after another, each of which uses all cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(own_cores())
    try:
        return _rate(images, lambda: [sampler.draw([seed]) for seed in range(images)])
    finally:
        torch.set_num_threads(before)


def generated(snapshot: Snapshot, sampler: Sampler, out: Path, images: int, kind: FormatName) -> float:
    """Returns images per second of `hrgan generate`, from its first shard to its last."""
    request = Request(snapshot, images * SHARDS, kind=kind, batch_size=1)
    index = generate_shards(request, lambda: sampler, out, shard_size=images, progress=False)
    ended = sorted((out / shard.name).stat().st_mtime_ns for shard in index.shards)
    return images * (SHARDS - 1) / ((ended[-1] - ended[0]) / 1e9)


def encoders(pixels: Any, kind: FormatName) -> float:
    """Returns images per second of the encoders alone, on all cores."""
    images = 8 * own_cores()
    with ThreadPoolExecutor(own_cores()) as pool:
        return _rate(images, lambda: list(pool.map(lambda _: encode(pixels, kind), range(images))))


def _rate(images: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return images / (time.perf_counter() - began)


def _row(side: int, kind: str, speed: float, bare: float, ceiling: float, others: float) -> dict[str, Any]:
    row = {
        "op": f"generate to {kind}",
        "size": f"{side}px",
        "mode": "fwd",
        "ms": 1e3 / speed,
        "vs_reference": speed / bare,
        "vs_peer": None,
        "floor_ms": 1e3 / bare,
        "note": f"{speed:.3g} images/s, bare {bare:.3g}, ratio {speed / bare:.2f}; "
        f"encoders alone {ceiling:.3g} images/s; other programs used {others:.1f} cores",
    }
    print(row["op"], row["size"], row["note"], sep=" | ", flush=True)
    return row


if __name__ == "__main__":
    main()
