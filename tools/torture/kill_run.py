"""Does a run survive kill -9? Trains it once undisturbed and once killed at random moments, and compares.

python -m tools.torture.kill_run --kills 20 --out out/torture configs/quickstart.yaml length.images=4k ...
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.compare_runs import differences


def train_command(arguments: Sequence[str], run: Path) -> list[str]:
    """Returns the command `hrgan train ARGUMENTS --run RUN` for this interpreter."""
    return [sys.executable, "-m", "launch.main", "train", *arguments, "--run", str(run)]


def train_undisturbed(arguments: Sequence[str], run: Path) -> float:
    """Trains to the end and returns the seconds it took. Raises CalledProcessError if it fails."""
    start = time.monotonic()
    with (run.parent / f"{run.name}.log").open("ab") as log:
        subprocess.run(train_command(arguments, run), check=True, stderr=log)
    return time.monotonic() - start


def train_killed(arguments: Sequence[str], run: Path, kills: int, longest: float, seed: int) -> list[float]:
    """Starts the run again and again, each time killing its whole process group at a random moment at most
    `longest` seconds in, `kills` times; then lets it end. Returns the moments, in seconds after each start.
    """
    chance = random.Random(seed)
    moments: list[float] = []
    with (run.parent / f"{run.name}.log").open("ab") as log:
        while len(moments) < kills:
            process = subprocess.Popen(train_command(arguments, run), stderr=log, start_new_session=True)
            moment = chance.uniform(0, longest)
            try:
                process.wait(timeout=moment)
                break  # it ended before all kills were used
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                moments.append(moment)
    train_undisturbed(arguments, run)
    return moments


def main() -> int:
    """Exit code 1 if the two runs differ in any bit, or if the run was too short for all kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=12, help="seconds from a start to its kill, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the two runs; emptied first")
    parser.add_argument("arguments", nargs="+", help="what `hrgan train` gets")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    straight, killed = options.out / "undisturbed", options.out / "killed"
    seconds = train_undisturbed(options.arguments, straight)
    print(f"undisturbed: {seconds:.0f} s")
    moments = train_killed(options.arguments, killed, options.kills, options.longest, options.seed)
    print(f"killed {len(moments)} times, at {', '.join(f'{m:.1f}' for m in moments)} s after a start")
    lines = differences(straight, killed)
    if len(moments) < options.kills:
        lines.append(f"the run ended after {len(moments)} of {options.kills} kills: make it longer")
    print("\n".join(lines) if lines else "identical to the bit")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
