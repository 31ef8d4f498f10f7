"""Sweeps: every combination of some values of some settings, a run each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UserError

_LONGEST_NAME = 200
_CLOSING = {"[": "]", "{": "}", "'": "'", '"': '"'}


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: its folder's name and its settings, as `key.path=value`."""

    name: str
    overrides: tuple[str, ...]


def sweep_runs(sweeps: Sequence[str]) -> list[SweepRun]:
    """All combinations of `key.path=v1,v2,...`; the last varies fastest. No sweep: one run without a name.

    Errors: UserError names a wrong sweep.
    """
    axes = [_axis(sweep) for sweep in sweeps]
    keys = [axis[0].partition("=")[0] for axis in axes]
    if len(set(keys)) < len(keys):
        raise UserError(f"--sweep: {_first_double(keys)} is given twice; allowed: each key once")
    runs = [SweepRun(_name(overrides), overrides) for overrides in itertools.product(*axes)]
    names = [point.name for point in runs]
    if len(set(names)) < len(names):
        raise UserError(
            f"--sweep: two runs would be named {_first_double(names)}; allowed: values that differ"
        )
    return runs


def _axis(sweep: str) -> list[str]:
    key, equals, values = sweep.partition("=")
    parts = split_values(values)
    if not equals or not key or not all(parts):
        raise UserError(f"--sweep {sweep}: must be key.path=value,value,... such as family.r1_gamma=1,2,5")
    return [f"{key}={part}" for part in parts]


def split_values(text: str) -> list[str]:
    """`1,2` -> 1 and 2; commas inside brackets or quotes belong to a value."""
    parts, open_, part = [], "", ""
    for letter in text:
        if open_ and letter == open_[-1]:
            open_ = open_[:-1]
        elif letter in _CLOSING and not open_.endswith(("'", '"')):
            open_ += _CLOSING[letter]
        if letter == "," and not open_:
            parts.append(part.strip())
            part = ""
        else:
            part += letter
    return [*parts, part.strip()]


def _name(overrides: Sequence[str]) -> str:
    name = ",".join(re.sub(r"[^\w.+=-]+", "-", override) for override in overrides)
    if len(name) > _LONGEST_NAME:
        raise UserError(
            f"--sweep: the run {name[:60]}... has a name that is too long; allowed: shorter values"
        )
    return name


def _first_double(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
