"""What one training step asks of the host, by phase, and the share of a step in which a GPU waits for the
host.

Operations are counted in a real step of the real networks at full size on tensors without data (torch's meta
device), so that every layer is there but no pixel is computed. A compiled operation of ours counts as one.
The host's time per operation is measured on this machine in steps of the same family at 8 pixels, as the
least time of one core divided by the number of operations counted there. It includes the CPU's own arithmetic
on 8 pixels, which the host of a GPU would not do, and does not include a driver's launch.

"Replayed" is what remains for the host where main phases are captured in CUDA graphs (engine.graphs): random
numbers, copies into buffers, the update, and one launch for the graph.

The GPU's time is a roofline over the same operations, each of which takes at least as long as a launch. It
follows from the constants below, which --set NAME=VALUE changes. Host and GPU run side by side; the GPU waits
for as long as the host takes longer.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from launch.assembly.operations import use_operations
from pipeline.config.load import load_config
from pipeline.config.run import RunConfig
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec, Phase
from pipeline.errors import UserError
from pipeline.models.registry import low_precision_of
from pipeline.training.turns import Run, Stats
from tools.bench.dispatch import Dispatched
from tools.bench.families import NoiseStream
from tools.bench.machine import write_rows
from tools.bench.without_data import step_without_data
from tools.research.scale.constants import overridden
from tools.research.scale.tally import flops_of
from tools.tiny_families import BATCH, DIGITS, PLAIN, tiny_family, tiny_trainer

_GROWN = 10**9  # images seen: every schedule has ended
_PLAIN = ("family.ada.mode=off",)
SIZES: Mapping[str, tuple[int, int, int, Sequence[str]]] = {
    "stylegan2-1024": (1024, 0, 4, _PLAIN),
    "stylegan2-256": (256, 0, 8, _PLAIN),
    "progan-1024": (1024, 0, 4, ()),
    "biggan-128": (128, 1000, 32, ()),
    "r3gan-ffhq-256": (256, 0, 32, ()),
    "dcgan-64": (64, 0, 128, ()),
    "mlp-32": (32, 0, 64, ()),
}
"""Configuration -> (resolution, classes, images of a GPU, settings): the sizes of the papers, most on 8 GPUs;
StyleGAN2 without augmentation, as others are timed."""
CONSTANTS: Mapping[str, float] = {
    "bandwidth": 3.4e12,  # bytes/s: 0.8 of the 4.3e12 that a copy reaches on an H200
    "bfloat16": 4.0e14,  # FLOP/s of convolutions: half of the 7.9e14 of an H200's matrix product
    "float32": 2.0e14,  # FLOP/s of convolutions with TF32: half of the 4e14 of a product; 4.5e13 in full
    "launch": 3e-6,  # s: the shortest kernel
    "host": 1.0,  # seconds of the GPU's host for one of this machine's
}


@dataclass(frozen=True)
class CountedTurn:
    """The counts of one turn of a phase.

    share: turns per step. operations: the number that the host dispatches. kernels, convolutions: how many of
    them start kernels, and how many are convolutions. gpu: seconds by the roofline. replayed: the number that
    the host dispatches if the phase is captured (engine.graphs), the launch of its graph not included.
    """

    name: str
    share: float
    operations: int
    kernels: int
    convolutions: int
    gpu: float
    replayed: int


class GpuWork(Dispatched):  # type: ignore[no-untyped-call]
    """Also sums the seconds that a GPU needs, operation by operation."""

    def __init__(self, constants: Mapping[str, float]) -> None:
        super().__init__()
        self._constants, self.seconds = constants, 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if self.starts_kernel(func):
            self.seconds += self._roofline(func, args, kwargs or {}, out)
        return out

    def _roofline(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        moved = sum({id(tensor): tensor.numel() * tensor.element_size() for tensor in tensors}.values())
        low = any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in tensors)
        rate = self._constants["bfloat16" if low else "float32"]
        arithmetic = flops_of(func, args, kwargs, out) / rate
        return max(arithmetic, moved / self._constants["bandwidth"], self._constants["launch"])


class _Replayed:
    """Implements turns.Graphs: a replay dispatches nothing and returns the stats of the capture."""

    def warm(self, run: Run) -> Stats:
        self._stats = run()
        return self._stats

    def capture(self, run: Run) -> Run:
        stats = run()
        return lambda: stats


class _Turns(dict[str, CountedTurn]):
    """Counts the last turn of each phase."""

    def __init__(self, constants: Mapping[str, float]) -> None:
        super().__init__()
        self._constants = constants

    @contextmanager
    def around(self, phase: Phase) -> Iterator[None]:
        with GpuWork(self._constants) as work:
            yield
        share = phase.repeats / phase.every
        counts = work.operations, work.kernels, work.convolutions
        self[phase.name] = CountedTurn(phase.name, share, *counts, work.seconds, work.operations)


def count(
    config: RunConfig, spec: ImageSpec, images: int, constants: Mapping[str, float] = CONSTANTS
) -> list[CountedTurn]:
    """Counts one turn of each phase with that many images, as on a GPU, without computing anything."""
    eager, replayed = _Turns(constants), _Turns(constants)
    step_without_data(config, spec, images, around=eager.around)
    # Noted in the first step, captured in the second, replayed in the third.
    step_without_data(config, spec, images, around=replayed.around, steps=3, graphs=_Replayed())
    return [replace(turn, replayed=replayed[name].operations) for name, turn in eager.items()]


class _Clock:
    """Records operations and the least seconds of this thread's core, by phase. One turn is counted, the
    others are timed."""

    def __init__(self) -> None:
        self.counts = False
        self.operations = Counter[str]()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def around(self, phase: Phase) -> Iterator[None]:
        if self.counts:
            with Dispatched() as seen:
                yield
            self.operations[phase.name] = seen.operations
            return
        began = time.thread_time()
        yield
        took = time.thread_time() - began
        self.seconds[phase.name] = min(took, self.seconds.get(phase.name, took))


def seconds_an_operation(name: str, labelled: bool, precision: str, rounds: int) -> dict[str, float]:
    """Returns, by phase, the least seconds of one core for a turn of the tiny family, divided by its
    operations."""
    use_operations("auto", torch.device("cpu"))
    torch.set_num_threads(1)
    low = low_precision_of(precision)
    trainer = tiny_trainer(tiny_family(name, DIGITS if labelled else PLAIN, low_precision=low))
    trainer.stream = NoiseStream(
        trainer.family.spec, BATCH, torch.device("cpu"), second=trainer.family.needs.second
    )
    clock = _Clock()
    trainer.around = clock.around
    for turn in range(rounds + 1):
        clock.counts = turn == 0
        trainer.progress.step, trainer.progress.images_seen = 0, _GROWN
        trainer.step()
    return {phase: took / clock.operations[phase] for phase, took in clock.seconds.items()}


def rows_of(name: str, constants: Mapping[str, float], rounds: int) -> list[dict[str, Any]]:
    """Returns a row per phase, and one for the whole step with lazy phases spread out."""
    resolution, classes, images, settings = SIZES[name]
    config = load_config(shipped(name), list(settings))
    turns = count(config, ImageSpec(resolution, resolution, 3, classes), images, constants)
    each = seconds_an_operation(config.family.name, bool(classes), config.engine.precision, rounds)
    milliseconds = 1e3 * constants["host"]
    parts = [
        {
            "operations": turn.operations, "kernels": turn.kernels, "convolutions": turn.convolutions,
            "ms": milliseconds * turn.operations * each[turn.name], "gpu_ms": 1e3 * turn.gpu,
            "replayed": turn.replayed, "replayed_ms": milliseconds * turn.replayed * each[turn.name],
        }
        for turn in turns
    ]  # fmt: skip
    step = {
        key: sum(turn.share * part[key] for turn, part in zip(turns, parts, strict=True)) for key in parts[0]
    }
    size = f"{resolution}px batch {images} {config.engine.precision}"
    return [
        _row(f"{name}, {what}", size, counted)
        for what, counted in (*zip((turn.name for turn in turns), parts, strict=True), ("step", step))
    ]


def _row(op: str, size: str, counted: Mapping[str, float]) -> dict[str, Any]:
    return {
        "op": op, "size": size, "mode": "fwd+bwd", "vs_reference": None, "vs_peer": None, "floor_ms": None,
        **counted, "us_an_operation": 1e3 * counted["ms"] / counted["operations"],
        "waits": waits(counted["ms"], counted["gpu_ms"]),
    }  # fmt: skip


def waits(host: float, gpu: float) -> float:
    """Returns the share of the longer of the two times in which the GPU waits for the host."""
    return max(0.0, host - gpu) / max(host, gpu)


def print_row(row: Mapping[str, Any]) -> None:
    """Prints one line."""
    print(
        f"{row['op']:<30} {row['size']:<26} {row['operations']:>10.0f} {row['kernels']:>7.0f} "
        f"{row['convolutions']:>7.0f} {row['us_an_operation']:>7.1f} {row['ms']:>9.1f} "
        f"{row['gpu_ms']:>8.1f} {row['waits']:>7.0%} {row['replayed']:>9.0f} {row['replayed_ms']:>6.1f}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line per phase, and one for the step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", help=f"of {', '.join(SIZES)}; all if none")
    parser.add_argument("--rounds", type=int, default=7, help="steps of which the quickest counts")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a constant")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(arguments)
    for name in options.configs:
        if name not in SIZES:
            raise UserError(f"configs: {name!r} is unknown; allowed: {', '.join(SIZES)}")
    constants = overridden(CONSTANTS, options.set)
    print(f"{'':<57} operations kernels   convs   us/op  host, ms  GPU, ms   waits  replayed     ms")
    rows = []
    for name in options.configs or SIZES:
        for row in rows_of(name, constants, options.rounds):
            print_row(row)
            rows.append({**row, "constants": constants})
    write_rows(options.json, rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
