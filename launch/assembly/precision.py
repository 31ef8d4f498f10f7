"""The type in which a run computes: the one that its settings ask for, or float32 if a CPU cannot compute in
that efficiently."""

from __future__ import annotations

from collections.abc import Callable

from ops.bfloat16 import computes_bfloat16
from pipeline.config.families import Objectives
from pipeline.config.run import RunConfig
from pipeline.contracts import Process
from pipeline.engines.process import from_all

_FINE = 0.05
"""The move of an image from which on bfloat16, whose numbers near 1 are 1/256 apart, tells slopes well."""


def with_computed_precision(config: RunConfig, process: Process, tell: Callable[[str], None]) -> RunConfig:
    """`config` with `engine.computes` decided, the same on all ranks. Every rank must call it.

    `tell` gets a line if the run computes in another type than requested, in one that is slow here, or in one
    whose rounding a penalty takes for slope.
    """
    if config.engine.precision == "float32":
        return config.computing("float32")
    able = all(from_all(computes_bfloat16(process.device), process))
    decided = config.computing("bfloat16" if able else "float32")
    lines = _unexpected(decided, able, begins=config.engine.computes is None), _too_fine(decided)
    for line in lines:
        if line is not None and process.is_first:
            tell(f"hrgan: warning: {line}")
    return decided


def _too_fine(config: RunConfig) -> str | None:
    family = config.family
    if config.engine.computed == "float32" or not isinstance(family, Objectives):
        return None
    differences = family.penalty_method == "finite_difference" and (family.r1_gamma or family.r2_gamma)
    if not differences or family.penalty_step >= _FINE:
        return None
    return (
        f"family.penalty_step={family.penalty_step:g} with engine.precision=bfloat16: rounding, divided by "
        "the step, adds to R1 and R2, most where the discriminator is flat; nothing with "
        f"engine.precision=float32, little with family.penalty_step={_FINE:g}, which sees more curvature"
    )


def _unexpected(config: RunConfig, able: bool, begins: bool) -> str | None:
    if config.engine.computed == "bfloat16":
        slow = (
            "engine.computes=bfloat16: this CPU has no instructions for it, a step takes several times as "
            "long as in float32; the run keeps what it began with"
        )
        return None if able else slow
    if begins:
        return (
            "engine.precision=bfloat16: this CPU has no instructions for it and would take several times as "
            "long; this run computes in float32 from beginning to end"
        )
    return "engine.precision=bfloat16: this run began in float32 (engine.computes) and stays in it"
