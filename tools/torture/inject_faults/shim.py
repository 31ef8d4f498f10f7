"""The library that is preloaded into a command: compiled, told what to do, and asked what it has seen."""

from __future__ import annotations

import errno
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops.building.tools import find_cxx

SOURCE = Path(__file__).with_name("shim.cpp")
CALLS = ("open", "read", "write", "fsync", "rename", "unlink", "link", "mkdir", "truncate")
"""Kinds of calls, in the order of the shim's counts; each stands for all of its variants."""
Action = Literal["once", "on", "before", "after", "tear"]
_STATE = struct.Struct(f"<ii{len(CALLS)}q")


@dataclass(frozen=True)
class Fault:
    """At the `number`-th call of kind `call`: fails it `once`, or that and all later ones (`on`), with
    `error` (an errno's name), or ends all processes `before` or `after` it, or in the middle of a
    write (`tear`)."""

    call: str
    number: int
    action: Action
    error: str = ""

    @property
    def kind(self) -> str:
        """What it is called in a table."""
        names = {"once": "once", "on": "for good", "before": "killed before", "after": "killed after"}
        text = names.get(self.action, "torn write, killed")
        return f"{self.error} {text}" if self.error else text

    def __str__(self) -> str:
        return f"{self.kind} at {self.call} {self.number}"

    def as_text(self) -> str:
        """As the shim reads it."""
        return f"{self.call} {self.number} {self.action} {getattr(errno, self.error, 0)}"


def compile_shim(folder: Path) -> Path:
    """The library, in `folder`. CannotBuild without a C++ compiler; CalledProcessError if it fails."""
    library = folder / "shim.so"
    options = ["-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run([find_cxx().path, *options], check=True)
    return library


def variables(root: Path, state: Path, fault: Fault | None = None, log: Path | None = None) -> dict[str, str]:
    """The environment of a command whose calls under `root` are counted, disturbed and recorded."""
    environment = {"INJECT_ROOT": str(root), "INJECT_STATE": str(state)}
    if fault is not None:
        environment["INJECT_FAULT"] = fault.as_text()
    if log is not None:
        environment["INJECT_LOG"] = str(log)
    return environment


def read_state(state: Path) -> tuple[bool, dict[str, int]]:
    """Whether the fault has come, and how many calls of each kind were made."""
    _, fired, *counts = _STATE.unpack(state.read_bytes())
    return bool(fired), dict(zip(CALLS, counts, strict=True))
