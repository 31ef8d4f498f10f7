"""R1 and R2 exact and by finite differences: time of steps, FLOPs and memory of the discriminator's turns.

Time: whole steps of the published networks at 64px, all ways by turns in one process; s/kimg counts every
phase as often as it comes. FLOPs and memory an image: counted at full size on tensors without data, as a GPU
would dispatch them, with blocks kept and recomputed; memory is what is alive at once beyond weights,
gradients and moments.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from launch.assembly.operations import use_operations
from launch.assembly.trainer import assemble, family_of
from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec, Phase
from pipeline.float32 import full_float32
from pipeline.kernels import choose_kernels
from tools.bench.budget import Budget, add_minutes
from tools.bench.families import Clock, FixedBatch, NoiseStream, figures
from tools.bench.machine import write_rows
from tools.bench.training import interleaved
from tools.bench.without_data import step_without_data
from tools.research.scale.counting import Linear
from tools.research.scale.tally import Tally

WAYS = {"exact": "exact", "differences": "finite_difference"}
TIMED, _SIDE = {"r3gan-ffhq-64.yaml": 4, "stylegan2-256.yaml": 8}, 64  # batches of whole groups
_COUNTED = {"r3gan-ffhq-256.yaml": 256, "stylegan2-256.yaml": 256, "stylegan2-1024.yaml": 1024}
_PRECISIONS, _RECOMPUTE, _FEW = ("float32", "bfloat16"), ("off", "blocks"), 8
_GROWN = 10**9  # images seen: every schedule has ended


class Timed:
    """A configuration with one way of penalties, ready for steps that have every phase."""

    def __init__(self, name: str, way: str, side: int, batch: int, overrides: Sequence[str] = ()) -> None:
        settings = [*overrides, f"family.penalty_method={WAYS[way]}", "engine.precision=float32"]
        config = load_config(shipped(name), [*settings, "batch.micro=null"])
        spec, device = ImageSpec(side, side, 3), torch.device("cpu")
        self._family, self._batch = family_of(config, spec), batch
        self._family.schedule = FixedBatch(self._family.schedule, batch)
        self._trainer = assemble(self._family, stream=NoiseStream(spec, batch, device))
        self._trainer.around = self._clock = Clock(device)

    def step(self) -> None:
        self._trainer.progress.step, self._trainer.progress.images_seen = 0, _GROWN
        self._trainer.step()
        self._trainer.meters.flush()

    def figures(self) -> dict[str, Any]:
        """Medians of all steps but the first, which warms up."""
        seconds = {phase: taken[1:] for phase, taken in self._clock.seconds.items()}
        return figures(self._family, seconds, self._batch)


def time_rows(
    name: str, rounds: Iterable[int], batch: int, side: int = _SIDE, overrides: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A row for the way by differences, with the exact one as its reference."""
    full_float32()
    choose_kernels()
    use_operations("auto", torch.device("cpu"))
    ways = {way: Timed(name, way, side, batch, overrides) for way in WAYS}
    interleaved(rounds, *(way.step for way in ways.values()))
    exact, ours = (way.figures() for way in ways.values())
    size, ratio = f"{side}px batch {batch}", ours["seconds_per_kimg"] / exact["seconds_per_kimg"]
    phases = [
        f"{phase} {seconds:.3g} against {exact['phases_seconds'][phase]:.3g}"
        for phase, seconds in ours["phases_seconds"].items()
    ]
    print(
        f"{name}, differences / exact | {size} | {ours['seconds_per_kimg']:.1f} s/kimg against "
        f"{exact['seconds_per_kimg']:.1f}, {ratio:.2f} times; phases (s): {', '.join(phases)}",
        flush=True,
    )
    return [{
        "op": f"step, {name.removesuffix('.yaml')}, penalties by differences / exact", "size": size,
        "mode": "fwd+bwd", "ms": batch * ours["seconds_per_kimg"], "vs_reference": ratio, "vs_peer": None,
        "floor_ms": batch * exact["seconds_per_kimg"], "phases_seconds": ours["phases_seconds"],
        "phases_seconds_exact": exact["phases_seconds"],
    }]  # fmt: skip


class Tallies(dict[str, tuple[int, int]]):
    """FLOPs and most bytes alive of each phase that trains the discriminator."""

    @contextmanager
    def around(self, phase: Phase) -> Iterator[None]:
        """For `Trainer.around`."""
        with Tally() as tally:
            yield
        if phase.trains == "discriminator":
            self[phase.name] = tally.flops, tally.peak


def counted(
    name: str, resolution: int, overrides: Sequence[str], few: int = _FEW
) -> dict[str, tuple[float, float]]:
    """FLOPs and bytes an image of each turn of the discriminator."""
    config, spec = load_config(shipped(name), list(overrides)), ImageSpec(resolution, resolution, 3)
    one, two = Tallies(), Tallies()
    step_without_data(config, spec, few, around=one.around)
    step_without_data(config, spec, 2 * few, around=two.around)
    return {
        phase: (
            Linear.through(few, one[phase][0], 2 * few, two[phase][0]).each,
            Linear.through(few, one[phase][1], 2 * few, two[phase][1]).each,
        )
        for phase in one
    }


def count_rows(name: str, resolution: int, overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A row for each turn of the discriminator, precision, recomputation and way."""
    rows = []
    for precision in _PRECISIONS:
        for recompute in _RECOMPUTE:
            for way, method in WAYS.items():
                settings = [f"engine.precision={precision}", f"engine.recompute={recompute}"]
                found = counted(name, resolution, [*overrides, *settings, f"family.penalty_method={method}"])
                again = ", recomputed" * (recompute == "blocks")
                for phase, (flops, size) in found.items():
                    print(
                        f"{name} {resolution}px | {precision}{again} | {phase}, {way} | "
                        f"{flops / 1e9:.1f} GFLOP, {size / 1e6:.0f} MB an image",
                        flush=True,
                    )
                    rows.append({
                        "op": f"{phase}, {name.removesuffix('.yaml')}, penalties {way}",
                        "size": f"{resolution}px {precision}{again}", "mode": "fwd+bwd",
                        "flops_an_image": flops, "bytes_an_image": size,
                    })  # fmt: skip
    return rows


def main() -> None:
    """Measures and counts all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=7)
    add_minutes(parser, 2)
    options = parser.parse_args()
    names = [*(f"time of {name}" for name in TIMED), *(f"memory of {name}" for name in _COUNTED)]
    budget, rows = Budget(options.minutes, names), []
    for name, resolution in _COUNTED.items():
        if budget.begins(f"memory of {name}"):
            rows += count_rows(name, resolution)
    for name, batch in TIMED.items():
        if budget.begins(f"time of {name}"):
            rows += time_rows(name, budget.turns(options.rounds + 1, least=2), batch)
    budget.report()
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
