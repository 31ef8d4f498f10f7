"""Does a generated data set survive kill -9? Makes it once undisturbed by one process, and once by several:
all of them are killed at a third of the shards, one at two thirds. Then compares every byte.

    python -m tools.torture.kill_generate RUN --count 2000 --processes 2 --out out/killed
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from pipeline.data.shards.index import INDEX_NAME, ShardIndex
from pipeline.data.shards.verify import verify

_POLL_SECONDS = 0.02
_COMPARED = ("*.tar", INDEX_NAME)


def command(source: Path, out: Path, arguments: Sequence[str]) -> list[str]:
    """`hrgan generate SOURCE OUT ARGUMENTS` by this interpreter."""
    return [sys.executable, "-m", "launch.main", "generate", str(source), str(out), *arguments]


def made(out: Path) -> int:
    """Finished shards so far."""
    return len(list(out.glob("*.tar")))


def killed(start: Sequence[str], out: Path, shards: int, victims: Callable[[int], Sequence[int]]) -> int:
    """Starts the command, kills `victims` of its process number when `out` holds `shards` shards, and waits;
    returns its exit code. RuntimeError if it ends before."""
    with (out.parent / f"{out.name}.log").open("ab") as log:
        process = subprocess.Popen(start, stdout=log, stderr=log, start_new_session=True)
        while made(out) < shards:
            if process.poll() is not None:
                raise RuntimeError(f"ended before {shards} shards, with exit code {process.returncode}")
            time.sleep(_POLL_SECONDS)
        for victim in victims(process.pid):
            os.kill(victim, signal.SIGKILL)
        return process.wait()


def everyone(process: int) -> list[int]:
    """The process and those that it started, itself first, so that it cannot tell them to stop."""
    return [process, *(child.pid for child in psutil.Process(process).children(recursive=True))]


def one_worker(process: int) -> list[int]:
    """The first process that it started."""
    return [psutil.Process(process).children()[0].pid]


def differences(first: Path, second: Path) -> list[str]:
    """Files of a data set that are not the same in both folders."""
    names = {path.name for folder in (first, second) for kind in _COMPARED for path in folder.glob(kind)}
    return [name for name in sorted(names) if not _same(first / name, second / name)]


def _same(first: Path, second: Path) -> bool:
    return first.is_file() and second.is_file() and first.read_bytes() == second.read_bytes()


def main() -> int:
    """Exit code 1 if any byte differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a snapshot or a run")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="a folder for both; emptied first")
    options, more = parser.parse_known_args()  # the rest is for `hrgan generate`
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    straight, broken = options.out / "undisturbed", options.out / "killed"
    arguments = ["--count", str(options.count), *(word for word in more if word != "--")]
    several = command(options.source, broken, [*arguments, "--processes", str(options.processes)])

    began = time.monotonic()
    subprocess.run(command(options.source, straight, arguments), check=True, stdout=subprocess.DEVNULL)
    shards = made(straight)
    print(f"one process: {options.count} images in {shards} shards, {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    code = killed(several, broken, shards // 3, everyone)
    print(f"{options.processes} processes: all killed (exit code {code}) with {made(broken)} shards finished")
    code = killed(several, broken, 2 * shards // 3, one_worker)
    print(f"the same command: one process killed, exit code {code}; {time.monotonic() - began:.0f} s in all")
    verify(ShardIndex.read(broken))
    different = differences(straight, broken)
    print("\n".join(f"{name}: differs" for name in different) if different else "identical to the byte")
    return 1 if different or code else 0


if __name__ == "__main__":
    sys.exit(main())
