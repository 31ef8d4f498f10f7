"""Our operations, training phases and generators against the plain ones and other projects', by turns.

Beside each row stands the floor: bytes at the measured copy bandwidth or FLOPs at the measured rate of
matrix products, whichever takes longer. vs_reference and vs_peer: how many times faster ours is.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

import ops
from pipeline.errors import UserError
from pipeline.float32 import full_float32
from pipeline.kernels import choose_kernels
from tools.bench.allocator import Allocators, Memory
from tools.bench.budget import Budget
from tools.bench.machine import write_rows
from tools.bench.op_races import BenchSettings, rows_of
from tools.bench.op_rows import SIZES, cases
from tools.bench.timing import DISTURBED, Floor, measure_floor
from tools.bench.whole_rows import generator_rows, training_rows, update_rows
from tools.research.peers import PEERS, load_peer

BenchRow = dict[str, Any]
Part = Callable[[], Iterator[BenchRow]]


@dataclass(frozen=True)
class SpeedTarget:
    """How many times faster than `peer` the rows must be whose operation begins with `op`."""

    op: str
    times: float
    mode: str = "fwd+bwd"
    dtype: str = "float32"
    size: str = ""
    peer: str = "stylegan2-ada-pytorch"

    def fits(self, row: BenchRow) -> bool:
        """True if it speaks of this row."""
        same = row["mode"] == self.mode and row.get("dtype") == self.dtype and row.get("peer") == self.peer
        return bool(same and row["op"].startswith(self.op) and row["size"].startswith(self.size))


TARGETS = (
    SpeedTarget("bias_act", 6),
    SpeedTarget("upfirdn2d up2", 20),
    SpeedTarget("upfirdn2d down2", 20),
    SpeedTarget("modulated_conv2d 3x3 up2", 5),
    SpeedTarget("filtered_lrelu", 20, peer="nvlabs-stylegan3"),
    SpeedTarget("training step", 2.5, size="256px"),
    SpeedTarget("generator forward", 2, mode="fwd", size="1024px"),
    SpeedTarget("generator forward", 3.5, mode="fwd", dtype="bfloat16", size="1024px"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the rows that are asked for, prints them and their targets, and writes them as JSON."""
    options = parse(arguments)
    try:
        rows = run(options)
    except UserError as error:
        print(f"bench_ops: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if options.device == "cpu" and not options.quick:
        print_targets(rows)
    write_rows(options.json, rows)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--peer", action="append", default=[], metavar="NAME=CHECKOUT",
        help=f"compare with this checkout; may be repeated; names: {', '.join(PEERS)}")  # fmt: skip
    add("--json", type=Path, help="write the rows here")
    add("--only", default="", metavar="TEXT", help="only rows whose operation and size contain this")
    add("--rounds", type=int, default=7, help="rounds of each row; at most 3 of whole pieces")
    add("--threads", type=int, help="threads of torch; default: all cores")
    add("--memory", choices=get_args(Memory), default="kept",
        help="large CPU tensors: all in kept memory, all fresh from the system, or ours kept")  # fmt: skip
    add("--quick", action="store_true", help="small sizes, two rounds, no whole pieces: to see that it works")
    add("--whole", action="store_true", help="also training at 256px and generators at 1024px")
    add("--minutes", type=float, help="of time for all rows; default: 5, with --whole or --peer 120")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: the operations and updates alone")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> list[BenchRow]:
    """Returns all rows, which are printed as they come."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; allowed: cpu")
    prepare_torch(options)
    rounds = min(options.rounds, 2) if options.quick else options.rounds
    peers = [load_peer(argument, options.device) for argument in options.peer]
    backend = native_backend(options.device)
    memory = Allocators("system" if options.device == "cuda" else options.memory)
    print("measuring what the machine does at most", file=sys.stderr, flush=True)
    floor = measure_floor(options.device, max(rounds, 7), small=options.quick)
    setting = BenchSettings(options.device, rounds, floor, peers, backend, memory)
    rows = []
    print(f"memory of large CPU tensors: {memory.name}")
    print_head(floor, setting)
    minutes = options.minutes or (120 if options.whole or options.peer else 5)
    budget = Budget(minutes, list(wanted_parts(options, setting)))
    parts = wanted_parts(options, replace(setting, seconds=budget.seconds))
    if torch.bfloat16 not in floor.rates:
        budget.leave_out("all rows in bfloat16", "this CPU has no instructions for it")
    for row in itertools.chain(floor_rows(floor, memory.name), timely_rows(parts, budget)):
        rows.append(row)
        print_row(row)
    budget.report()
    return rows


def prepare_torch(options: argparse.Namespace) -> None:
    """Sets threads and precision, the same for all contestants."""
    torch.set_num_threads(options.threads or len(os.sched_getaffinity(0)))
    full_float32()
    choose_kernels()


def native_backend(device: str) -> ops.Backend:
    """Returns the backend of compiled operations, or that of plain ones, with a line that says why, if they
    are missing."""
    try:
        ops.use("native", devices=("cpu", "cuda") if device == "cuda" else ("cpu",))
    except ops.NativeOpsMissing as error:
        print(f"ours runs as plain PyTorch: {error}")
        return "reference"
    return "native"


def wanted_parts(options: argparse.Namespace, setting: BenchSettings) -> dict[str, Part]:
    """Returns, by name, the rows that `--only`, `--quick`, `--whole` and `--device` select."""
    parts: dict[str, Part] = {}
    device, large, few = setting.device, options.whole, min(setting.rounds, 3)
    for case in cases(SIZES["quick" if options.quick else device], device):
        name = f"{case.op} {case.size}".strip()
        parts[f"{name}, larger" if name in parts else name] = partial(rows_of, case, setting)
    parameters = 32 if options.quick else 1024
    parts["moving average, Adam, norm and clearing"] = partial(update_rows, setting, parameters)
    if not options.quick and device != "cuda":
        for resolution in (64, 256) if large else (64,):
            parts[f"training {resolution}px"] = partial(training_rows, setting, resolution, few)
        for resolution in (256, 1024) if large else (256,):
            parts[f"generator forward {resolution}px"] = partial(generator_rows, setting, resolution, few)
    return {name: part for name, part in parts.items() if options.only in name}


def timely_rows(parts: Mapping[str, Part], budget: Budget) -> Iterator[BenchRow]:
    """Yields the rows of those parts that begin in time."""
    for name, part in parts.items():
        if budget.begins(name):
            yield from part()
            gc.collect()


def floor_rows(floor: Floor, memory: str) -> list[BenchRow]:
    """Returns the numbers from which floors are computed, as rows: gigabytes and GFLOPs per second."""
    settings = {"tensors": memory}
    settings |= {key: os.environ[key] for key in ("GLIBC_TUNABLES", "LD_PRELOAD") if key in os.environ}
    empty = {"mode": "fwd", "vs_reference": None, "vs_peer": None, "memory": settings}
    gigabytes = floor.bandwidth / 1e9
    copy = {
        "op": "machine: copy",
        "size": "1 GB",
        "ms": 1e3 / gigabytes,
        "floor_ms": 1e3 / gigabytes,
        **empty,
    }
    products = [
        {"op": f"machine: {str(dtype).removeprefix('torch.')} product", "size": "1 GFLOP",
         "ms": 1e12 / rate, "floor_ms": 1e12 / rate, **empty}
        for dtype, rate in floor.rates.items()
    ]  # fmt: skip
    return [copy, *products]


def print_head(floor: Floor, setting: BenchSettings) -> None:
    """Prints what holds for all rows."""
    rates = ", ".join(f"{str(d).removeprefix('torch.')} {r / 1e9:.0f}" for d, r in floor.rates.items())
    print(f"copy {floor.bandwidth / 1e9:.1f} GB/s read and written; products in GFLOP/s: {rates}; "
          f"{torch.get_num_threads()} threads; ours: {setting.native}")  # fmt: skip
    if floor.others > DISTURBED:
        print(f"DISTURBED: others used {floor.others:.2f} cores meanwhile; floors are too high")
    columns = "operation", "size", "type", "layout", "pass", "ms", "quartiles", "floor", "reference", "peer"
    print(_FORMAT.format(*columns, ""), flush=True)


_FORMAT = "{:<26} {:<26} {:<8} {:<13} {:<7} {:>9} {:>19} {:>8} {:>17} {:>17} {}"


def print_row(row: BenchRow) -> None:
    """Prints one line: milliseconds and, for reference and peer, how many times longer they took."""
    low, high = row.get("spread_ms", {}).get("ours", (row["ms"], row["ms"]))
    against = [
        f"{row[f'{name}_ms']:.4g} ({row[f'vs_{name}']:.2f}x)" if row.get(f"{name}_ms") else "-"
        for name in ("reference", "peer")
    ]
    cells = row["op"], row["size"], row.get("dtype", ""), row.get("layout", ""), row["mode"]
    floor = f"{row['floor_ms']:.4g}" if row["floor_ms"] else "-"
    times = f"{row['ms']:.4g}", f"{low:.4g}..{high:.4g}", floor
    print(_FORMAT.format(*cells, *times, *against, remarks(row)), flush=True)


def remarks(row: BenchRow) -> str:
    """Returns the peer and its form, how far results differ, and whether other programs used the
    processor."""
    words = [f"{row['peer']} {row.get('peer_form') or ''}".strip()] if row.get("peer") else []
    if row.get("difference") is not None:
        words.append(f"differs by {row['difference']:.1e} of {row['magnitude']:.1e}")
    if row.get("gradient_difference") is not None:
        words.append(f"gradient by {row['gradient_difference']:.1e}")
    if row.get("others_cores", 0) > DISTURBED:
        times = [f"{row[f'cpu_vs_{n}']:.2f}x {n}" for n in ("reference", "peer") if f"cpu_vs_{n}" in row]
        words.append(
            f"DISTURBED: others used {row['others_cores']:.2f} cores; {', '.join(times)} by cores' time"
        )
    if row.get("seconds_per_1000_images"):
        words.append(f"{row['seconds_per_1000_images']:.1f} s for 1000 images")
    return "; ".join(words)


def print_targets(rows: Sequence[BenchRow]) -> None:
    """Prints, for each row that has a target, the target and the result."""
    applicable = [(target, row) for target in TARGETS for row in rows if target.fits(row)]
    if applicable:
        print("\ntargets: times faster than the peer")
    for target, row in applicable:
        seen = row["vs_peer"] or 0.0
        verdict = "pass" if seen >= target.times else "FAIL"
        name = f"{row['op']}, {row['size']}, {row['mode']}, {row['dtype']} {row['layout']}"
        print(f"{verdict} {name}: {seen:.2f}, wanted {target.times:g}")


if __name__ == "__main__":
    main()
