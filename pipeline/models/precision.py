"""The refusal of a precision by families that have no blocks for it."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.errors import UserError


def refuse_low_precision(config: Any, low_precision: torch.dtype | None) -> None:
    """Raises UserError if there is one. config: the family's, whose name the error says."""
    if low_precision is not None:
        raise UserError(
            f"engine.precision=bfloat16: no blocks of {config.name}'s networks compute in it; "
            "allowed: float32"
        )
