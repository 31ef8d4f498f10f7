"""All problems of a machine that are there, the wrong ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launch.doctor.limits import LIMITS
from launch.doctor.machine import Machine
from launch.doctor.meeting_points import MEETING_POINTS
from launch.doctor.problem import Look, Problem
from launch.doctor.software import SOFTWARE
from pipeline.reading import shown

PROBLEMS: tuple[Look, ...] = (*SOFTWARE, *LIMITS, *MEETING_POINTS)
"""Every problem that is looked for. A new one is one more entry in the table of its file."""


def problems(machine: Machine) -> list[Problem]:
    """Those that are there; never raises, since a broken machine is what a doctor is called for."""
    return sorted(_found(machine), key=lambda one: not one.wrong)


def _found(machine: Machine) -> Iterator[Problem]:
    for look in PROBLEMS:
        try:
            found = look(machine)
        except Exception as error:
            what = str(look.__doc__).rstrip(".")
            found = Problem("not looked at", False, f"{what}: {type(error).__name__}: {error}", "tell us")
        if found is not None:
            yield found


def mending(found: Sequence[Problem]) -> str:
    """A section of its own: what was seen, and under it what to do."""
    lines = ["what to mend"]
    for one in found:
        lines += [
            f"  {'WRONG' if one.wrong else '-':<5}  {shown(f'{one.name}: {one.seen}')}",
            f"         mend: {shown(one.mend)}",
        ]
    return "\n".join(lines)
