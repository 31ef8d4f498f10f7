"""A stage as it is stored: all numbers, where one that is played may hold tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.contracts import Net, Stage


@dataclass(frozen=True)
class StoredStage:
    """The fields of `contracts.Stage`, by which what a file says is checked."""

    resolution: int
    fade: float
    batch_size: int
    rates: Mapping[Net, float]
    growth: int = 0
    ema_beta: float = 0.0
    adam_beta2: Mapping[Net, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def restored(self) -> Stage:
        """The stage itself."""
        return Stage(**vars(self))
