"""The types of the check: a step, where it runs, its figures, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

Figure = dict[str, Any]
"""A figure: `what`, `value`, `unit`, and whatever else belongs to it."""
State = Literal["ok", "failed", "killed", "left out"]


class LeftOut(Exception):
    """Raised by a step that cannot run on this machine; says what the machine lacks."""


@dataclass(frozen=True)
class Conditions:
    """Where a step runs: the device, a folder of its own, checkouts of peers (NAME=FOLDER), and the sizes."""

    device: torch.device
    folder: Path
    peers: tuple[str, ...]
    sizes: Mapping[str, Any]


Measure = Callable[[Conditions], Iterator[Figure]]


@dataclass(frozen=True)
class Step:
    """One check.

    seconds: its time limit. settles: the question that it answers. sizes, tiny: its sizes on a GPU and in a
    rehearsal. beside: whether it runs beside the following steps, in their time.
    """

    name: str
    seconds: float
    settles: str
    measure: Measure
    sizes: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    beside: bool = False


@dataclass(frozen=True)
class StepResult:
    """How a step ended: the seconds it took, the figures it measured, and why it measured no more."""

    step: str
    state: State
    seconds: float
    rows: tuple[Figure, ...] = ()
    why: str = ""


def figure(what: str, value: float, unit: str, **more: Any) -> Figure:
    """Returns a row."""
    return {"what": what, "value": value, "unit": unit, **more}
