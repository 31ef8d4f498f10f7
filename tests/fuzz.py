"""Hostile files of every kind that the product reads, made from a seed: `python -m tests.fuzz`.

Prints, for each kind, how many files were read or refused in one line, and how many ended otherwise.
--code DIR reads them with the product in another folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.data import hostile_archives, hostile_images
from tests.importing import hostile

ROOT = Path(__file__).parents[1]
Case = tuple[str, bytes]
Found = tuple[str, str, str]
KINDS: dict[str, tuple[str, Callable[[int, int], list[Case]]]] = {  # suffix, and what makes them
    "png": (".png", hostile_images.pngs),
    "jpg": (".jpg", partial(hostile_images.photographs, "jpg")),
    "webp": (".webp", partial(hostile_images.photographs, "webp")),
    "picture": (".png", hostile_images.pngs),
    "shard": (".tar", hostile_archives.shards),
    "tar": (".tar", hostile_archives.tars),
    "zip": (".zip", hostile_archives.zips),
    "weights": (".pkl", hostile.weights),
}
GOOD = ("fine", "line")


def outcomes(
    cases: Mapping[str, Sequence[Case]], *, code: Path = ROOT, seconds: int = 20, megabytes: int = 1024
) -> dict[str, list[Found]]:
    """(name, outcome, reason) of each case of each kind. seconds, megabytes: what reading one may take."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, files in cases.items():
            (Path(folder) / kind).mkdir()
            for number, (_, data) in enumerate(files):
                (Path(folder) / kind / f"{number:06d}{KINDS[kind][0]}").write_bytes(data)
        call = [sys.executable, "-P", str(Path(__file__).with_name("fuzz_probe.py"))]
        done = subprocess.run(
            [*call, folder, str(seconds), str(megabytes)],
            env={**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, list[Found]] = {kind: [] for kind in cases}
    for line in done.stdout.splitlines():
        kind, outcome, reason = line.split("\t", 2)
        found[kind].append((cases[kind][len(found[kind])][0], outcome, reason))
    assert {kind: len(files) for kind, files in cases.items()} == {
        k: len(files) for k, files in found.items()
    }
    return found


def bad(found: Sequence[Found]) -> list[Found]:
    """What was neither read nor refused in one line."""
    return [case for case in found if case[1] not in GOOD]


def main() -> None:
    """The table of all kinds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--code", type=Path, default=ROOT, help="folder of the product to read them with")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--count", type=int, default=300, help="files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=10, help="of processor time: more is a hang")
    arguments = parser.parse_args()
    cases = {kind: KINDS[kind][1](arguments.seed, arguments.count) for kind in arguments.kinds}
    results = outcomes(cases, code=arguments.code, seconds=arguments.seconds)
    for kind, found in results.items():
        print(kind, len(found), dict(Counter(outcome for _, outcome, _ in found)), sep=" | ")
        for (name, outcome, reason), count in Counter(bad(found)).most_common(30):
            print(f"    {count} x {outcome}: {name}: {reason}")


if __name__ == "__main__":
    main()
