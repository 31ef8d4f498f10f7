"""What a GPU does with hrgan, in ten minutes: every question as a step with a time limit of its own.

Examples:
  python -m tools.gpu_check --out out/gpu_check
  python -m tools.gpu_check --only full-size,peer --peer stylegan2-ada-pytorch=../stylegan2-ada-pytorch
  python -m tools.gpu_check --rehearse         (all steps on a CPU, tiny: none is tried first on a GPU)
  python -m tools.gpu_check --pack out/pack    (what a GPU machine without a network lacks)

FOLDER then holds steps.json, rows.jsonl (each figure as it was found), report.md and log.txt.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

import ops
from pipeline.errors import RunFailed, UserError
from tools.gpu_check import pack, report
from tools.gpu_check.runner import CheckSettings, run
from tools.gpu_check.step import Step, StepResult
from tools.gpu_check.steps import STEPS
from tools.research.peers import PEERS

BUDGET = 540.0  # seconds
PATIENCE = 4.0  # times as long as a GPU may a busy CPU take


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the check. The exit code is 1 if a step failed or was killed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    if options.pack is not None:
        return pack.make(options.pack, options.arch, options.present)
    steps = chosen(options.only, patience=PATIENCE if options.rehearse else 1.0)
    order = ordered(options)
    if options.packed is not None:
        for kind in pack.adopt(options.packed, order.scratch / "ops"):
            print(f"--packed {options.packed}: nothing in it fits this machine's {kind}", flush=True)
    print(f"compiled operations ready after {prepared(order.device):.1f} s", flush=True)
    results = run(steps, order, lambda result: print(report.line(result), flush=True))
    say(order, results)
    return int(any(result.state in ("failed", "killed") for result in results))


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m tools.gpu_check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    names = ", ".join(step.name for step in STEPS)
    arguments.add_argument("--only", metavar="STEP[,STEP]", help=f"these steps alone, of {names}")
    arguments.add_argument(
        "--out", type=Path, default=Path("out/gpu_check"), metavar="FOLDER", help="results"
    )
    arguments.add_argument(
        "--peer", action="append", default=[], metavar="NAME=CHECKOUT",
        help=f"time its phases too; names: {', '.join(PEERS)}",
    )  # fmt: skip
    arguments.add_argument(
        "--budget", type=float, metavar="SECONDS",
        help=f"of all steps; later ones are left out; {BUDGET:.0f}, rehearsed {PATIENCE * BUDGET:.0f}",
    )  # fmt: skip
    arguments.add_argument("--rehearse", action="store_true", help="on a CPU, with tiny sizes")
    arguments.add_argument("--pack", type=Path, metavar="FOLDER",
        help="instead gather wheels and compiled operations for a machine without a network")  # fmt: skip
    arguments.add_argument("--arch", default="9.0", help="of --pack: the GPU's architecture")
    arguments.add_argument("--present", type=Path, metavar="FILE", help="of --pack: packages that are there")
    arguments.add_argument("--packed", type=Path, metavar="FOLDER", help="use what --pack compiled")
    return arguments


def chosen(only: str | None, patience: float = 1.0) -> list[Step]:
    """Returns the steps that `only` names, in the order of the table, with limits `patience` times as long.
    Raises UserError for an unknown step."""
    steps = [replace(step, seconds=patience * step.seconds) for step in STEPS]
    if only is None:
        return steps
    names, known = [name.strip() for name in only.split(",")], [step.name for step in STEPS]
    for name in names:
        if name not in known:
            raise UserError(f"--only {name}: unknown; allowed: {', '.join(known)}")
    return [step for step in steps if step.name in names]


def ordered(options: argparse.Namespace) -> CheckSettings:
    """Checks the command line. Raises UserError without a GPU, unless this is a rehearsal, for an unknown
    peer, or for a budget that is none."""
    if not options.rehearse and not torch.cuda.is_available():
        raise UserError("no CUDA device is visible; allowed: --rehearse, which runs every step on a CPU")
    for peer in options.peer:
        name, _, folder = peer.partition("=")
        if name not in PEERS or not Path(folder).is_dir():
            raise UserError(f"--peer {peer}: NAME=CHECKOUT is wanted; known names: {', '.join(PEERS)}")
    budget = BUDGET * (PATIENCE if options.rehearse else 1.0) if options.budget is None else options.budget
    if not budget > 0:
        raise UserError(f"--budget {options.budget}: allowed: seconds above 0")
    device = torch.device("cpu") if options.rehearse else torch.device("cuda", 0)
    return CheckSettings(options.out.absolute(), device, budget, tuple(options.peer), options.rehearse)


def prepared(device: torch.device) -> float:
    """Compiles the operations if necessary, before the time of any step begins; returns the seconds that
    took."""
    began = time.monotonic()
    ops.prepare("auto", devices=("cuda",) if device.type == "cuda" else ("cpu",))
    return time.monotonic() - began


def say(order: CheckSettings, results: Sequence[StepResult]) -> None:
    """Prints and writes the report."""
    peers = [word for peer in order.peers for word in ("--peer", peer)]
    command = shlex.join(["python", "-m", "tools.gpu_check", *["--rehearse"] * order.tiny, *peers])
    lines = report.ledger(results, command, report.device_name(order.device.type))
    text = "\n".join(["", *report.table(results), "", "Lines for tests/gpu/LEDGER.md:", "", *lines])
    print(text, flush=True)
    (order.out / "report.md").write_text(text + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (UserError, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
