"""What the CUDA kernels of a library cost, read from their machine code.

    python -m tools.research.sass LIBRARY.so|CUBIN [--arch 90] [--kernel REGEX]

Needs cuobjdump and nvdisasm of the CUDA toolkit, on PATH, beside nvcc, in triton (torch for CUDA has it) or
in --tools FOLDER: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm brings them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ops.building.report import demangled
from ops.building.tools import CannotBuild, find_nvcc, toolkit_of

COLUMNS = ("kernel", "arch", "registers", "local", "instructions", "hot path", "wide loads", "in flight")
_FUNCTION = re.compile(r"^\s*Function : (\S+)", re.MULTILINE)
_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,6})\*/\s+([^;]+);", re.MULTILINE)
_SIZES = {"128": 16, "64": 8, "U16": 2, "U8": 1}


class NoTool(RuntimeError):
    """A program of the CUDA toolkit is missing; one line says which and what brings it."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: where, its guard ("" if it always runs), its name with modifiers, and operands."""

    address: int
    guard: str
    name: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where a branch leads."""
        place = re.search(r"0x([0-9a-f]+)\s*$", self.operands) if self.name.startswith("BRA") else None
        return int(place[1], 16) if place else None

    @property
    def stored(self) -> int:
        """Bytes that a lane stores."""
        if not self.name.startswith(("STG", "STS")):
            return 0
        return next((size for part, size in _SIZES.items() if part in self.name.split(".")), 4)

    @property
    def is_wide_load(self) -> bool:
        """True if it loads 16 bytes from device memory."""
        return self.name.startswith("LDG") and ".128" in self.name

    @property
    def ends(self) -> bool:
        """True if what follows is not run after it. BRA.DIV leaves only with a warp that has come apart."""
        always = not self.guard and not re.match(r"!?U?P\d", self.operands) and self.name != "BRA.DIV"
        return always and self.name.split(".")[0] in ("BRA", "EXIT", "RET")


@dataclass(frozen=True)
class Kernel:
    """A kernel. hot: instructions of `hot_path`. in_flight: its 16-byte loads under way at once."""

    name: str
    arch: str
    registers: int
    local: int
    instructions: int
    hot: int
    wide: int
    in_flight: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Exit code 2: a tool or the library is missing."""
    parser = argparse.ArgumentParser(prog="python -m tools.research.sass", description=__doc__)
    parser.add_argument("library", type=Path)
    parser.add_argument("--arch", default="90", help="such as 80 or 90")
    parser.add_argument("--kernel", default="", metavar="REGEX", help="only kernels whose name it finds")
    parser.add_argument("--tools", type=Path, help="folder of cuobjdump and nvdisasm")
    options = parser.parse_args(arguments)
    try:
        rows = read(options.library, options.arch, options.tools)
    except NoTool as error:
        print(error, file=sys.stderr)
        return 2
    print(table([row for row in rows if re.search(options.kernel, row.name)]))
    return 0


def read(library: Path, arch: str, tools: Path | None = None) -> list[Kernel]:
    """Every kernel of a library for one architecture. NoTool if a program is missing or fails."""
    folder = find_tools(tools)
    code = _output(folder, "-sass", "-arch", f"sm_{arch}", str(library))
    usage = dict(_usage(_output(folder, "-res-usage", "-arch", f"sm_{arch}", str(library))))
    parts = _FUNCTION.split(code)[1:]
    names = demangled(parts[::2])
    return [
        _row(name, arch, usage.get(mangled, (0, 0)), instructions(text))
        for name, mangled, text in zip(names, parts[::2], parts[1::2], strict=True)
    ]


def find_tools(folder: Path | None = None) -> Path:
    """The folder that holds cuobjdump and nvdisasm."""
    places = [folder] if folder else list(_places())
    for place in places:
        if all(os.access(place / tool, os.X_OK) for tool in ("cuobjdump", "nvdisasm")):
            return place
    raise NoTool(
        f"no cuobjdump and nvdisasm in {folder or 'PATH, beside nvcc or in triton'}: install the CUDA "
        "toolkit, or pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm and name their folder by --tools"
    )


def _places() -> Iterator[Path]:
    on_path = shutil.which("cuobjdump")
    if on_path:
        yield Path(on_path).parent
    with suppress(CannotBuild):
        yield toolkit_of(find_nvcc().path) / "bin"
    triton = find_spec("triton")  # which comes with torch for CUDA and brings both
    if triton is not None and triton.origin is not None:
        yield Path(triton.origin).parent / "backends" / "nvidia" / "bin"


def _output(folder: Path, *arguments: str) -> str:
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [str(folder / "cuobjdump"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )
    if done.returncode:
        raise NoTool(f"cuobjdump: {(done.stderr or done.stdout).strip().splitlines()[0]}")
    return done.stdout


def _usage(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, registers, stack, local in re.findall(
        r"Function (\S+):\s+REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)", text
    ):
        yield name, (int(registers), int(stack) + int(local))


def instructions(text: str) -> list[Instruction]:
    """The instructions of a disassembled function."""
    decoded = []
    for address, line in _INSTRUCTION.findall(text):
        guard, name, operands = re.match(r"(@!?U?P\w+\s+)?(\S+)\s*(.*)", line.strip()).groups()  # type: ignore[union-attr]
        decoded.append(Instruction(int(address, 16), (guard or "").strip(), name, operands))
    return decoded


def _row(name: str, arch: str, used: tuple[int, int], code: list[Instruction]) -> Kernel:
    hot = hot_path(code)
    wide = sum(i.is_wide_load for i in hot)
    return Kernel(name, arch, *used, len(code), len(hot), wide, _in_flight(hot))


def hot_path(code: list[Instruction]) -> list[Instruction]:
    """A turn of the largest loop that stores, else the whole to its last end with loops run once; without
    the ways round that only borders take."""
    ends = [i.address for i in code if i.name == "EXIT"]
    spans = [
        (i.target, i.address)
        for i in code
        if i.target is not None
        and i.target < i.address
        and any(i.target <= j.address <= i.address and j.name.startswith("STG") for j in code)
    ]
    first, last = max(spans or [(0, ends[-1])], key=lambda span: span[1] - span[0])
    return shortest([i for i in code if first <= i.address <= last])


def shortest(body: list[Instruction]) -> list[Instruction]:
    """The way from the first instruction to the last that stores the most bytes, of those the most 16-byte
    loads (operands may be absent), and of those the shortest.

    Forward branches only, so that one sweep from the end finds it.
    """
    place_of = {i.address: place for place, i in enumerate(body)}
    end = len(body) - 1
    best: list[tuple[int, int, int] | None] = [None] * len(body)  # bytes, loads, minus instructions ahead
    following = [end] * len(body)
    best[end] = (0, 0, -1)
    for place in range(end - 1, -1, -1):
        i = body[place]
        ways = [] if i.ends else [place + 1]
        if i.target is not None and place_of.get(i.target, 0) > place:
            ways.append(place_of[i.target])
        ahead = [(best[way], way) for way in ways if best[way] is not None]
        if ahead:
            (stores, loads, cost), following[place] = max(ahead)  # type: ignore[misc]
            best[place] = (stores + i.stored, loads + i.is_wide_load, cost - 1)
    path, place = [], 0
    while place != end:
        path.append(body[place])
        place = following[place]
    return [*path, body[end]]


def _in_flight(hot: list[Instruction]) -> int:
    """The most 16-byte loads that are under way at once: a load is done when its first register is read."""
    pending: set[str] = set()
    most = 0
    for i in [*hot, *hot]:  # twice round: a loop may fetch for its next turn
        target, _, sources = i.operands.partition(",")
        pending -= {register for register in pending if _reads(sources, register)}
        if i.is_wide_load:
            pending.add(target.strip())
            most = max(most, len(pending))
    return most


def _reads(sources: str, register: str) -> bool:
    """Whether any of the four registers from this one on is among the sources."""
    first = int(register[1:])
    return any(first <= int(number) < first + 4 for number in re.findall(r"\bR(\d+)", sources))


def table(rows: Sequence[Kernel]) -> str:
    """A line a kernel."""
    lines = [COLUMNS, *(tuple(map(str, vars(row).values())) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w)
            for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
