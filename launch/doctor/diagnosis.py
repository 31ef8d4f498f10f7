"""A diagnosis as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launch.doctor.run_readings import RunReadings


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run: what was seen, with the figure and since when; what it means; what to try.

    wrong: the run comes to nothing as it is; otherwise it is worth a look.
    """

    name: str
    wrong: bool
    seen: str
    means: str
    attempt: str


Diagnose = Callable[[RunReadings], Diagnosis | None]


def at(images: int) -> str:
    """A position of a run, as in "12,000 images"."""
    return f"{images:,} images"
