"""Changes single places of the code and asks the tests whether they notice: a sample of each room, by mutmut.

python -m tools.torture.mutate losses training --sample 60 --minutes 30 --out out/mutation

Needs the extra `mutation`. Each room is copied, with its tests, into a folder of its own below --out, where
mutmut changes the copy and runs, for each change, those of the room's tests that reach it. What is finished
stays: the same command goes on, a larger --sample draws further places. mutmut leaves decorated functions and
what stands outside functions as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import RunFailed, UserError

ROOT = Path(__file__).parents[2]
ROOMS = ("evaluation", "losses", "storage", "training")
_COPIED = ("pipeline", "ops", "launch", "tools", "configs", "tests", "docs")
_FILES = ("pyproject.toml", "README.md", "Makefile", "CHANGELOG.md", "CONTRIBUTING.md")
_WORDS = {0: "survived", 1: "killed", 3: "killed", 33: "no test"}
"""Exit code of the tests -> what became of the change; any other: they hung or broke down."""
Results = Mapping[str, int | None]


def setting(room: str) -> str:
    """Returns mutmut's setup.cfg. Tests are forked from a server that has computed nothing, because
    autograd's threads do not survive a fork."""
    return "\n".join(
        [
            "[mutmut]",
            f"source_paths=pipeline/{room}",
            "also_copy=",
            *(f"    {name}" for name in (*_COPIED, *_FILES)),
            "process_isolation=forkserver",
            "pytest_add_cli_args=",
            *("    -p", "    no:xdist", "    -m", "    not slow and not gpu"),
            f"pytest_add_cli_args_test_selection=tests/{room}",
            "",
        ]
    )


def prepare(place: Path, room: str) -> None:
    """Returns the copy that is changed; an existing one stays as it is, with its results."""
    if (place / "setup.cfg").is_file():
        return
    shutil.rmtree(place, ignore_errors=True)
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, place)
    (place / "setup.cfg").write_text(setting(room))


def results(place: Path) -> dict[str, int | None]:
    """Returns every change that mutmut knows, with the exit code of its tests; None if they have not run
    yet."""
    codes: dict[str, int | None] = {}
    for path in sorted(place.glob("mutants/pipeline/**/*.meta")):
        codes.update(json.loads(path.read_text())["exit_code_by_key"])
    return codes


def sample(known: Results, count: int, seed: int) -> list[str]:
    """Draws that many changes, the same for the same seed; a larger count includes those of a smaller one."""
    names = sorted(known)
    random.Random(seed).shuffle(names)
    return names[:count]


def run(place: Path, names: Sequence[str], until: float) -> str:
    """Runs mutmut in the copy until that time of the monotonic clock; returns its output."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    with (place / "mutmut.log").open("wb") as log:
        started = subprocess.Popen(
            command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                started.wait(max(0.0, until - time.monotonic()))
        finally:  # with its server and the tests
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
    return (place / "mutmut.log").read_text(errors="replace")


def torture(room: str, place: Path, count: int, seed: int, until: float) -> dict[str, int | None]:
    """Returns the results of the sample, as far as time allowed. Raises RunFailed if the unchanged room fails
    its tests."""
    prepare(place, room)
    if not (place / "mutants/mutmut-stats.json").is_file():
        said = run(place, ["none"], until)  # writes all changes down, and which tests reach which
        if not (place / "mutants/mutmut-stats.json").is_file() and time.monotonic() < until:
            raise RunFailed(f"{room}: its tests fail as it is: {' '.join(said.split()[-40:])}")
    chosen = sample(results(place), count, seed)
    left = [name for name in chosen if results(place)[name] is None]
    if left and time.monotonic() < until:
        run(place, left, until)
    return {name: results(place)[name] for name in chosen}


def table(rooms: Mapping[str, Results]) -> list[str]:
    """Returns a row per room in Markdown, then the names of the changes that survived."""
    lines = [
        "| room | changes | killed | survived | no test | hung or broke | not run |",
        "|---|---|---|---|---|---|---|",
    ]
    for room, codes in rooms.items():
        counts = Counter("not run" if code is None else _WORDS.get(code, "hung") for code in codes.values())
        cells = [counts[word] for word in ("killed", "survived", "no test", "hung", "not run")]
        lines.append(f"| {room} | {len(codes)} | " + " | ".join(map(str, cells)) + " |")
    survivors = [name for codes in rooms.values() for name, code in codes.items() if code in (0, 33)]
    return [*lines, *(["", *sorted(survivors)] if survivors else [])]


def difference(place: Path, name: str) -> str:
    """Returns a change as a patch."""
    command = [sys.executable, "-m", "mutmut", "show", name]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the changes and prints the table. The exit code is 1 if a change survived."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture.mutate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}; all if none")
    parser.add_argument("--sample", type=int, default=40, metavar="N", help="changes of each room")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--minutes", type=float, default=60.0, help="of all rooms together")
    parser.add_argument("--out", type=Path, default=Path("out/mutation"), help="folder of copies and results")
    options = parser.parse_args(arguments)
    for room in options.rooms:
        if room not in ROOMS:
            raise UserError(f"{room}: no such room; allowed: {', '.join(ROOMS)}")
    if importlib.util.find_spec("mutmut") is None:
        raise UserError("mutmut is not installed; allowed: pip install 'hrgan[mutation]'")
    rooms, by_room, end = options.rooms or ROOMS, {}, time.monotonic() + 60 * options.minutes
    for number, room in enumerate(rooms):
        # What one room leaves of its share, the next ones have.
        until = time.monotonic() + (end - time.monotonic()) / (len(rooms) - number)
        by_room[room] = torture(room, options.out.absolute() / room, options.sample, options.seed, until)
        for name in sorted(name for name, code in by_room[room].items() if code == 0):
            print(difference(options.out.absolute() / room, name))
    print("\n".join(table(by_room)))
    return int(any(code == 0 for results in by_room.values() for code in results.values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (UserError, RunFailed) as error:
        print(f"mutate: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
