"""A table of what ptxas reports about each kernel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

COLUMNS = ("kernel", "arch", "registers", "spill stores", "spill loads", "shared")


@dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture; spills and shared memory in bytes."""

    name: str
    arch: str
    registers: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    shared: int = 0


def read_log(log: str) -> list[Kernel]:
    """Returns every kernel that `-Xptxas -v` names in a log."""
    kernels: list[Kernel] = []
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\S+)' for 'sm_(\w+)'", line):
            kernels.append(Kernel(entry[1], entry[2]))
        elif kernels and (spills := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)):
            stores, loads = int(spills[1]), int(spills[2])
            # Functions that a kernel calls have lines of their own; the largest numbers count.
            last = kernels[-1]
            stores, loads = max(stores, last.spill_stores), max(loads, last.spill_loads)
            kernels[-1] = replace(last, spill_stores=stores, spill_loads=loads)
        elif kernels and (used := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            kernels[-1] = replace(kernels[-1], registers=int(used[1]), shared=int(shared[1]) if shared else 0)
    return kernels


def table(kernels: Sequence[Kernel]) -> str:
    """Returns one line per kernel, those that spill first, and a summary."""
    names = dict(zip([k.name for k in kernels], demangled([k.name for k in kernels]), strict=True))
    ordered = sorted(kernels, key=lambda k: (-k.spill_stores - k.spill_loads, names[k.name], k.arch))
    rows = [COLUMNS] + [
        (names[k.name], k.arch, *map(str, (k.registers, k.spill_stores, k.spill_loads, k.shared)))
        for k in ordered
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    spilling = sum(k.spill_stores + k.spill_loads > 0 for k in kernels)
    most = max((k.registers for k in kernels), default=0)
    return "\n".join([*lines, f"{len(kernels)} kernels, {spilling} spill, at most {most} registers"])


def demangled(names: Sequence[str]) -> list[str]:
    """Returns short names of kernels, or the names as they are if there is no c++filt."""
    tool = shutil.which("c++filt")
    if not tool or not names:
        return list(names)
    done = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return [short(line) for line in lines] if len(lines) == len(names) else list(names)


def short(signature: str) -> str:
    """Returns `kernel<float, 4>` for `void space::(anonymous namespace)::kernel<float, (int)4>(float*,
    int)`."""
    text = signature.replace("(anonymous namespace)::", "")
    text = re.sub(r"\((?:unsigned |signed )?(?:int|long|bool|char)\)", "", text)
    text = re.sub(r"\b(?:\w+::)+", "", text)
    depth = 0
    for place, letter in enumerate(text):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            text = text[:place]
            break
    return text.removeprefix("void ").strip()
