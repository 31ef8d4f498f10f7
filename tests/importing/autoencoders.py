"""Weights that are a function of their names and shapes, the same in every version of torch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def weights_of(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Gains near 1, biases near 0, and other weights so large that signals keep their size."""
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> Tensor:
    draws = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).random(shape)
    spread = torch.tensor(2 * draws - 1, dtype=torch.float32)
    if len(shape) > 1:
        return spread * math.sqrt(3 / math.prod(shape[1:]))
    return 0.1 * spread + float("norm" in name and name.endswith("weight"))
