"""Steps on one process and on two: weak scaling (the images per process stay the same), strong scaling (the
images per step stay the same), the share of a step that waits for the other process, and gradients sent whole
or in buckets.

Every process computes with one thread. `--megabits` puts the two processes behind a link of that bandwidth,
each in a network namespace of its own (which needs root and iproute2); without it, they communicate over
loopback. What is compared takes turns within one pair of processes; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launch.assembly.trainer import assemble
from pipeline.config.families import StyleGAN2Config
from pipeline.config.run import EngineConfig
from pipeline.contracts import ImageSpec, Process
from pipeline.engines.process import start_process, stop_process
from pipeline.models.registry import build_family
from pipeline.training.state import RankShare, copied, take
from pipeline.training.trainer import Trainer
from tools.bench.budget import Budget, add_minutes
from tools.bench.families import NoiseStream
from tools.bench.machine import write_rows
from tools.ranks import run_module, run_on_two_hosts

_SIDE, _STEPS = 64, 4  # four steps: every lazy phase of this configuration once
_SPEC = ImageSpec(_SIDE, _SIDE, 3)
_BUCKETS = (0.0, 1.0, 4.0)
_FAMILY = StyleGAN2Config(channel_base=4096, channel_max=128, mapping_layers=2, r1_every=4)


class Waits:
    """Seconds that this process has spent in exchanges with others, waiting for them included."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._all_reduce = dist.all_reduce
        dist.all_reduce = self._timed

    def _timed(self, *arguments: Any, **settings: Any) -> Any:
        start = time.perf_counter()
        work = self._all_reduce(*arguments, **settings)
        self.seconds += time.perf_counter() - start
        return work if work is None else _Work(work, self)


@dataclass(frozen=True)
class _Work:
    work: dist.Work
    waits: Waits

    def wait(self) -> None:
        start = time.perf_counter()
        self.work.wait()
        self.waits.seconds += time.perf_counter() - start


def make_trainer(process: Process, batch: int, bucket_mb: float) -> Trainer:
    """A StyleGAN2 at 64px on this process, with images that are there already. batch: global."""
    family = build_family(_FAMILY, _SPEC, batch_size=batch)
    stream = NoiseStream(_SPEC, batch // process.world_size, process.device)
    return assemble(family, process, settings=EngineConfig(bucket_mb=bucket_mb), stream=stream)


def measure_here(out: Path, batch: int, rounds: int, buckets: Sequence[float]) -> None:
    """As one rank: seconds of a step, and of waiting in it, by bucket size; the first rank writes them."""
    torch.set_num_threads(1)
    process = start_process("cpu")
    waits = Waits()
    trainers = [make_trainer(process, batch, bucket_mb) for bucket_mb in buckets]
    taken: list[list[tuple[float, float]]] = [[] for _ in buckets]
    for turn in range(rounds + 1):
        for number, trainer in enumerate(trainers):
            trainer.engine.any(False)  # together from the start
            waited, start = waits.seconds, time.perf_counter()
            for _ in range(_STEPS):
                trainer.step()
            if turn:
                seconds = time.perf_counter() - start
                taken[number].append((seconds / _STEPS, (waits.seconds - waited) / _STEPS))
    stalls = [stall(trainers[0]) for _ in range(rounds + 1)][1:]
    if process.is_first:
        size = sum(p.numel() for _, module in trainers[0].networks.items() for p in module.parameters())
        out.write_text(json.dumps({"taken": taken, "parameters": size, "stalls": stalls}))
    stop_process()


def stall(trainer: Trainer) -> float:
    """Seconds that a checkpoint in the background stops training for: asking whether the one before is
    written, and copying this rank's share."""
    engine = trainer.engine
    engine.any(False)  # together from the start
    start = time.perf_counter()
    engine.any(False)
    copied(take(trainer, RankShare(trainer.networks, engine.process).holds))
    return time.perf_counter() - start


@dataclass(frozen=True)
class Measured:
    """Medians of a step in ms, and of waiting in it, by bucket size; gradients of both networks in MB; median
    of a checkpoint's stall in ms."""

    step: list[float]
    waits: list[float]
    megabytes: float
    stall: float


def measure(ranks: int, batch: int, rounds: int, buckets: Sequence[float], megabits: int) -> Measured:
    """One process or two."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "taken.json")
        arguments = ["--rank-out", str(out), "--batch", str(batch), "--rounds", str(rounds), "--buckets"]
        arguments += [str(size) for size in buckets]
        if megabits and ranks > 1:
            run_on_two_hosts("tools.bench.scaling", arguments, megabits)
        else:
            run_module("tools.bench.scaling", ranks, arguments)
        result = json.loads(out.read_text())
    columns = [
        [1e3 * statistics.median(column) for column in zip(*kind, strict=True)] for kind in result["taken"]
    ]
    return Measured(
        [c[0] for c in columns],
        [c[1] for c in columns],
        4e-6 * result["parameters"],
        1e3 * statistics.median(result["stalls"]),
    )


def scaling_rows(images: int, rounds: int, megabits: int, budget: Budget) -> list[dict[str, Any]]:
    """images: of one process alone."""
    assert budget.begins("alone")
    alone = measure(1, images, rounds, (0.0,), 0)
    link = f"{megabits} Mbit/s" if megabits else "loopback"
    rows: list[dict[str, Any]] = []
    for kind, batch, ideal in (("weak", 2 * images, alone.step[0]), ("strong", images, alone.step[0] / 2)):
        if not budget.begins(kind):
            continue
        two = measure(2, batch, rounds, _BUCKETS, megabits)
        for number, bucket_mb in enumerate(_BUCKETS):
            name = f"buckets of {bucket_mb:g} MB" if bucket_mb else "one all-reduce"
            size = f"{_SIDE}px, batch {batch} on 2, {two.megabytes:.0f} MB of gradients, {link}"
            ms, share = two.step[number], two.waits[number] / two.step[number]
            print(
                f"{kind} scaling, {name} | {size} | {ms:.0f} ms, one process {alone.step[0]:.0f} ms: "
                f"efficiency {ideal / ms:.2f}; {share:.0%} of the step in communication",
                flush=True,
            )
            rows.append({
                "op": f"{kind} scaling, {name}", "size": size, "mode": "fwd+bwd", "ms": ms,
                "vs_reference": ms / ideal, "vs_peer": None, "floor_ms": ideal,
                "communication_share": share,
            })  # fmt: skip
        if kind == "strong":
            rows.append(stall_row(alone, two))
    return rows


def stall_row(alone: Measured, two: Measured) -> dict[str, Any]:
    """What a checkpoint written in the background stops training for."""
    print(
        f"training waits for a checkpoint | {two.stall:.1f} ms on 2 ranks, one process {alone.stall:.1f} ms"
    )
    return {
        "op": "training waits for a checkpoint, on 2 ranks / 1", "size": f"{4 * alone.megabytes:.0f} MB",
        "mode": "save", "ms": two.stall, "vs_reference": two.stall / alone.stall, "vs_peer": None,
        "floor_ms": alone.stall,
    }  # fmt: skip


def main() -> None:
    """Runs all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="images of one process alone")
    parser.add_argument("--megabits", type=int, default=0, help="bandwidth of the link; 0: loopback")
    parser.add_argument("--buckets", type=float, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--rank-out", type=Path, help=argparse.SUPPRESS)
    add_minutes(parser, 1)
    arguments = parser.parse_args()
    if arguments.rank_out is not None:
        measure_here(arguments.rank_out, arguments.batch, arguments.rounds, arguments.buckets)
        return
    budget = Budget(arguments.minutes, ["alone", "weak", "strong"])
    rows = scaling_rows(arguments.batch, arguments.rounds, arguments.megabits, budget)
    budget.report()
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
