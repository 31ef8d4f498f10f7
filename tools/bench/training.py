"""What the training loop costs beyond its phases, and a checkpoint beyond writing its bytes.

Loop: the time of whole steps of `hrgan train` (loader, random streams, figures, average, guards) against the
phases alone (objective, backward, Adam) on images already in memory. Checkpoint: CheckpointStore.save against
writing and fsyncing files of the same sizes; how long training waits for a checkpoint that is written in the
background against one that it waits for; and steps during such a write against steps alone. Measurements are
interleaved, figures are medians.

Memory: the peak of a phase beyond the networks, with `engine.recompute=blocks` against without, each in a
process of its own (resident memory on a CPU, what torch allocated on a GPU), and what recomputing costs in
time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launch.assembly.dataset import Sets, stream_of
from launch.assembly.trainer import assemble, family_of
from pipeline.config.families import StyleGAN2Config
from pipeline.config.run import BatchConfig, DataConfig, RunConfig
from pipeline.contracts import Batch, Family, ImageSpec, Networks, Process
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.second import TwoStreams
from pipeline.data.streaming.stream import ImageStream
from pipeline.float32 import full_float32, of_turn
from pipeline.kernels import choose_kernels
from pipeline.models.layers import recompute_blocks
from pipeline.models.registry import build_family
from pipeline.randomness import SampleRandomness
from pipeline.storage.background import BackgroundWriter
from pipeline.storage.checkpoints import CheckpointStore
from pipeline.training.meters import peak_gib
from pipeline.training.state import copied, take
from pipeline.training.trainer import Trainer, only_trainable
from tools.bench.budget import Budget, add_minutes
from tools.bench.machine import write_rows

_SIDE, _BATCH, _STEPS = 64, 16, 4  # four steps: every lazy phase of this configuration once
_FAMILY = StyleGAN2Config(channel_base=4096, channel_max=128, mapping_layers=2, r1_every=4)


def make_trainer(index: ShardIndex) -> tuple[Trainer, ImageStream | TwoStreams]:
    """Returns a StyleGAN2 run at 64px with its real loader."""
    data = DataConfig(workers=1, lanes=8, mirror=True)
    config = RunConfig(family=_FAMILY, data=data, batch=BatchConfig(size=_BATCH))
    family = family_of(config, index.spec)
    stream = stream_of(config, Sets(index), family, Process())
    return assemble(family, stream=stream), stream


class BarePhases:
    """The same phases on one resident batch, each updated by its own Adam, without the loop around them."""

    def __init__(self, family: Family, reals: Batch) -> None:
        torch.manual_seed(0)
        self._family, self._reals = family, reals
        self._networks: Networks = family.networks()
        self._adams = {
            net: torch.optim.Adam(module.parameters(), betas=(0.0, 0.99), fused=True)
            for net, module in self._networks.items()
        }

    def steps(self, count: int) -> None:
        """`count` steps from step 0."""
        stage = self._family.schedule.at(0)
        for step in range(count):
            for phase in self._family.phases:
                if step % phase.every:
                    continue
                with only_trainable(self._networks, phase):
                    randomness = SampleRandomness(range(len(self._reals)))
                    game = self._family.game(self._networks, stage, randomness)
                    loss = phase.objective(game, self._reals).loss.mean() * phase.gain
                    self._adams[phase.trains].zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    self._adams[phase.trains].step()


def loop_rows(rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Measures the milliseconds per step with and without the loop."""
    with tempfile.TemporaryDirectory() as folder:
        prepare("demo:faces", folder, Asked(resolution=_SIDE, count=256, format="png"))
        trainer, stream = make_trainer(ShardIndex.read(folder))
        with stream:
            (reals,) = trainer.stream.draw(_BATCH)
            bare = BarePhases(trainer.family, reals)

            def whole() -> None:
                for _ in range(_STEPS):
                    trainer.step()
                trainer.meters.flush()

            ours, floor = interleaved(rounds, whole, lambda: bare.steps(_STEPS))
    return [row("training step, whole loop / phases alone", f"{_SIDE}px batch {_BATCH}", ours, floor, _STEPS)]


def checkpoint_rows(rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Measures the milliseconds of a checkpoint and of the bare write."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare("demo:faces", root / "data", Asked(resolution=_SIDE, count=32, format="png"))
        trainer, stream = make_trainer(ShardIndex.read(root / "data"))
        with stream:
            trainer.step()
        groups = take(trainer)
        sizes = [sum(t.numel() * t.element_size() for t in tensors.values()) for tensors in groups.values()]
        store, position = CheckpointStore(root, 1), iter(range(10_000))

        def save() -> None:
            store.save(groups, images_seen=next(position), step=0, world_size=1, config_digest="")

        ours, floor = interleaved(rounds, save, lambda: bare_write(root / "bare", sizes))
    return [row("checkpoint save / write and fsync", f"{sum(sizes) / 2**20:.0f} MiB", ours, floor, 1)]


def stall_rows(rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Measures how long a checkpoint stops training, and how much writing it slows down the steps
    meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare("demo:faces", root / "data", Asked(resolution=_SIDE, count=256, format="png"))
        trainer, stream = make_trainer(ShardIndex.read(root / "data"))
        store, position, writer = CheckpointStore(root, 1), iter(range(10_000)), BackgroundWriter()

        def save(groups: Mapping[str, Mapping[str, Tensor]]) -> None:
            store.save(groups, images_seen=next(position), step=0, world_size=1, config_digest="")

        def begin() -> None:
            groups = copied(take(trainer))
            writer.submit(lambda: save(groups))

        def steps() -> None:
            for _ in range(_STEPS):
                trainer.step()

        seconds: list[list[float]] = [[], [], [], []]
        with stream:
            for turn in rounds:
                kinds = (begin, steps, writer.finish, lambda: save(take(trainer)), steps)
                taken = [seconds_of(kind) for kind in kinds]
                if turn:
                    for values, value in zip(seconds, taken[:2] + taken[3:], strict=True):
                        values.append(value)
        held = [tensor for group in take(trainer).values() for tensor in group.values()]
        size = f"{sum(tensor.numel() * tensor.element_size() for tensor in held) / 2**20:.0f} MiB"
    begun, beside, waited, alone = seconds
    return [
        row("training waits for a checkpoint, written in the background / at once", size, begun, waited, 1),
        row("training step, while a checkpoint is written / alone", size, beside, alone, _STEPS),
    ]


def seconds_of(act: Callable[[], object]) -> float:
    """Returns the wall-clock seconds of one call."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def memory_rows(phase: str, side: int, batch: int, rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Measures the peak of StyleGAN2's `phase` at `side` pixels, with blocks recomputed and kept; once
    each."""
    context = multiprocessing.get_context("spawn")
    peaks = []
    for recompute in (True, False):
        with context.Pool(1) as pool:
            peaks.append(pool.apply(phase_peak, (phase, side, batch, recompute)))
    (ours, seconds), (kept, kept_seconds) = peaks
    size = f"{side}px batch {batch}"
    print(
        f"{phase}, blocks recomputed / kept | {size} | {1024 * ours:.0f} MiB against {1024 * kept:.0f}, "
        f"{ours / kept:.2f} times; {seconds:.2f} s against {kept_seconds:.2f}"
    )
    return [{
        "op": f"peak memory of {phase}, blocks recomputed / kept", "size": size, "mode": "fwd+bwd",
        "ms": 1000 * seconds, "vs_reference": seconds / kept_seconds, "vs_peer": None,
        "floor_ms": 1000 * kept_seconds, "gib": ours, "gib_kept": kept,
    }]  # fmt: skip


def phase_peak(name: str, side: int, batch: int, recompute: bool) -> tuple[float, float]:
    """Returns (peak in GiB above the memory before, seconds) of one forward and backward pass of the
    phase."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    full_float32()
    choose_kernels()
    config = StyleGAN2Config(channel_base=8192, channel_max=128, mapping_layers=2)
    family = build_family(config, ImageSpec(side, side, 3), batch_size=batch)
    networks = family.networks()
    family.memory.to(device)
    for network in (networks.generator, networks.discriminator):
        network.to(device)
        if recompute:
            recompute_blocks(network)
    (phase,) = (phase for phase in family.phases if phase.name == name)
    reals = Batch(torch.rand(batch, 3, side, side, device=device) * 2 - 1)
    before, start = peak_gib(device), time.perf_counter()
    with only_trainable(networks, phase), of_turn("main", exact=phase.exact):
        game = family.game(networks, family.schedule.at(0), SampleRandomness(range(batch), device))
        phase.objective(game, reals).loss.mean().backward()  # type: ignore[no-untyped-call]
    if device.type == "cuda":
        torch.cuda.synchronize()
    return peak_gib(device) - before, time.perf_counter() - start


def bare_write(folder: Path, sizes: list[int]) -> None:
    """Writes and fsyncs files of `sizes` bytes."""
    folder.mkdir(exist_ok=True)
    for number, size in enumerate(sizes):
        with (folder / str(number)).open("wb") as file:
            file.write(b"\1" * size)
            file.flush()
            os.fsync(file.fileno())


def interleaved(rounds: Iterable[int], *kinds: Callable[[], None]) -> list[list[float]]:
    """Returns the seconds of each kind in each round but the first, which warms up."""
    seconds: list[list[float]] = [[] for _ in kinds]
    for turn in rounds:
        for number, kind in enumerate(kinds):
            start = time.perf_counter()
            kind()
            if turn:
                seconds[number].append(time.perf_counter() - start)
    return seconds


def row(op: str, size: str, ours: list[float], floor: list[float], per: int) -> dict[str, Any]:
    """Returns a row with medians in milliseconds; vs_reference is ours in multiples of the floor's time."""
    mine, least = (1000 * statistics.median(values) / per for values in (ours, floor))
    ratio = statistics.median(a / b for a, b in zip(ours, floor, strict=True))
    print(f"{op} | {size} | {mine:.1f} ms against {least:.1f} ms, {ratio:.3f} times", flush=True)
    return {
        "op": op, "size": size, "mode": "fwd+bwd", "ms": mine,
        "vs_reference": ratio, "vs_peer": None, "floor_ms": least,
    }  # fmt: skip


def main() -> None:
    """Measures all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--memory",
        nargs="*",
        default=["generator", "discriminator", "r1"],
        help="phases whose peak is measured",
    )
    add_minutes(parser, 2.5)
    arguments = parser.parse_args()
    kinds: dict[str, Callable[[Iterable[int]], list[dict[str, Any]]]] = {
        "loop": loop_rows, "checkpoint": checkpoint_rows, "waiting for checkpoints": stall_rows,
    }  # fmt: skip
    kinds |= {f"memory of {phase}": partial(memory_rows, phase, 256, 4) for phase in arguments.memory}
    budget, rows = Budget(arguments.minutes, list(kinds)), []
    for name, measure in kinds.items():
        if budget.begins(name):
            rows += measure(budget.turns(arguments.rounds + 1, least=2))
    budget.report()
    write_rows(arguments.json, rows)


if __name__ == "__main__":
    main()
