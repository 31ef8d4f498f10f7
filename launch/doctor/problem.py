"""A problem of a machine as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launch.doctor.machine import Machine


@dataclass(frozen=True)
class Problem:
    """What is in the way on this machine, and how to mend it. wrong: hrgan does not work so; otherwise it
    works less well, or will fail under some condition that `seen` names."""

    name: str
    wrong: bool
    seen: str
    mend: str


Look = Callable[[Machine], Problem | None]
GIB = 2**30
