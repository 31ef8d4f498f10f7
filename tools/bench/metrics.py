"""What evaluation costs beside the networks: feature extraction against the bare extractor, FID's square root
against scipy's, and memory and time of precision, recall, density and coverage.

`--neighbours N` compares N fakes with N reals of 2,048 features; with `--share S` it computes every S-th tile
alone, in the same memory, and its time is that of all. `vs_bare`, `vs_peer`: the other's time over ours.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import scipy.linalg
import torch
from torch import Tensor

from launch.assembly.sampling import choose_device
from pipeline.contracts import ImageSpec
from pipeline.evaluation.arithmetic.frechet import sqrt_trace
from pipeline.evaluation.arithmetic.moments import FEATURE_SIZE
from pipeline.evaluation.arithmetic.neighbours import (
    DC_NEIGHBOUR,
    TILE_COLUMNS,
    TILE_ROWS,
    meet,
    neighbour_distances,
)
from pipeline.evaluation.comparison import random_inception
from pipeline.evaluation.features.inception import InceptionExtractor
from pipeline.evaluation.features.weights import InceptionWeights
from pipeline.evaluation.gathering import gather
from pipeline.evaluation.metrics.by_features import Features, Moments
from pipeline.evaluation.peers import Alone
from pipeline.evaluation.settings import Settings
from pipeline.randomness import seeded
from pipeline.storage.manifest import digest_file
from pipeline.training.meters import peak_gib
from tools.bench.budget import Budget, add_minutes
from tools.bench.machine import write_rows
from tools.bench.timing import Contestant, clock_of, race

_BATCH = 32
T = TypeVar("T")


def bench_extraction(device: torch.device, images: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Times gathering FID's moments from images in memory, against the extractor's forward pass on them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "inception.pth")
        torch.save(random_inception(), path)
        digest = digest_file(path)
        extractor = InceptionExtractor(InceptionWeights(path, digest), device)
    pixels = torch.randint(0, 256, (images, 3, 256, 256), dtype=torch.uint8)
    settings = Settings((), batch_size=_BATCH, device=device)
    needs = (Moments(Features(extractor.name, images)),)
    extractors, spec = {extractor.name: extractor}, ImageSpec(256, 256, 3, 0)

    def ours() -> None:
        gather(needs, spec, extractors, settings, lambda n: pixels[n.start : n.stop], Alone(), "bench")

    def bare() -> None:
        with torch.inference_mode():
            for part in pixels.split(_BATCH):  # type: ignore[no-untyped-call]
                extractor._network(part.to(device))

    result = race(
        {"ours": Contestant(ours), "bare": Contestant(bare)}, rounds, clock_of(device.type), seconds
    )
    ms, floor = result.ms("ours") / images, result.ms("bare") / images
    return {"op": "extract", "size": f"{images} images", "mode": "fwd", "ms": ms, "vs_bare": floor / ms}


def bench_root(rounds: int, seconds: float) -> dict[str, Any]:
    """Times tr((A B)^(1/2)) of two covariances of 2,048 features."""
    covariances = [_covariance(seed) for seed in (0, 1)]

    def scipys() -> float:
        return float(scipy.linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).trace().real)

    def ours() -> float:
        return float(sqrt_trace(*covariances))

    apart = abs(ours() - scipys()) / scipys()
    result = race({"ours": Contestant(ours), "scipy": Contestant(scipys)}, rounds, clock_of("cpu"), seconds)
    ms = result.ms("ours")
    speed = result.ms("scipy") / ms
    return {
        "op": "sqrt_trace",
        "size": FEATURE_SIZE,
        "mode": "fwd",
        "ms": ms,
        "vs_peer": speed,
        "apart": apart,
    }


def _covariance(seed: int) -> Tensor:
    generator = seeded(seed)
    return torch.cov(torch.randn(FEATURE_SIZE, 3 * FEATURE_SIZE, generator=generator, dtype=torch.float64))


@dataclass(frozen=True)
class OneOf:
    """The first of `world_size` processes, without the others: it does only its own share."""

    world_size: int
    rank: int = 0

    def gather(self, value: T) -> list[T]:
        return [value]

    def from_first(self, value: T) -> T:
        return value


def bench_neighbours(count: int, share: int, device: torch.device) -> dict[str, Any]:
    """Measures the time of all neighbourhood figures, and their memory beyond the two sets of features."""
    fakes, reals = (torch.randn(count, FEATURE_SIZE, generator=seeded(s)) for s in (0, 1))
    gc.collect()
    # Any distances at all load the libraries that do them, once.
    neighbour_distances(fakes[:2000], Alone(), device)
    before, began = peak_gib(device), time.perf_counter()
    for points in (fakes, reals):
        neighbour_distances(points, OneOf(share), device)
    radii = torch.full((count, DC_NEIGHBOUR), FEATURE_SIZE**0.5)
    meet(fakes, reals, radii, radii, OneOf(share), device)
    seconds, beyond = time.perf_counter() - began, peak_gib(device) - before
    return {
        "op": "neighbours",
        "size": f"{count} x {count}",
        "mode": "fwd",
        "ms": 1e3 * seconds * share,
        "share": share,
        "features_gib": 2 * fakes.numel() * 4 / 2**30,
        "beyond_gib": beyond,
        "all_at_once_gib": count**2 * 4 / 2**30,
        "tile": f"{TILE_ROWS} x {TILE_COLUMNS}",
    }


def _line(row: Mapping[str, Any]) -> str:
    shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
    return "  ".join(f"{key} {value}" for key, value in shown.items())


def main(words: Sequence[str] | None = None) -> int:
    """Prints a line per row and writes the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64, help="of feature extraction; 0: leave it out")
    parser.add_argument("--neighbours", type=int, default=10_000, help="of each set; 0: leave it out")
    parser.add_argument("--share", type=int, default=1, help="compute every S-th tile")
    parser.add_argument("--no-root", action="store_true", help="leave FID's square root out")
    add_minutes(parser, 1)
    arguments = parser.parse_args(words)
    device = choose_device(arguments.device)
    kinds: dict[str, Callable[[float], dict[str, Any]]] = {}
    if arguments.neighbours:  # first, for a process's peak memory never falls
        kinds["neighbours"] = lambda _: bench_neighbours(arguments.neighbours, arguments.share, device)
    if arguments.images:
        kinds["extract"] = partial(bench_extraction, device, arguments.images, arguments.rounds)
    if not arguments.no_root:
        kinds["sqrt_trace"] = partial(bench_root, arguments.rounds)
    budget, rows = Budget(arguments.minutes, list(kinds)), []
    for name, measure in kinds.items():
        if budget.begins(name):
            rows.append(measure(budget.seconds()))
            print(_line(rows[-1]), flush=True)
    budget.report()
    write_rows(arguments.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
