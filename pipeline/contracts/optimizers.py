"""The constants of a player's optimizer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdamRule:
    """Adam's constants for one network (Kingma and Ba 2015, algorithm 1); the rate comes from the stage."""

    beta1: float
    beta2: float
    eps: float = 1e-8
