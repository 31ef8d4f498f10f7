"""Numbers that are the same on every machine and in every version of every library, to fill networks and
inputs.

Element k of the tensor NAME is SplitMix64's output at (first 8 bytes of sha256(NAME), little-endian) + (k +
1) * 0x9E3779B97F4A7C15 (Steele et al. 2014, figure 17). Its upper 53 bits are taken as a uniform number in
[0, 1), centred and scaled to unit variance; the result is multiplied by `scale` and increased by `offset` of
the first rule whose pattern occurs in NAME.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Rule = tuple[str, float, float]
"""Pattern, scale, offset."""


def drawn(name: str, shape: Sequence[int], rules: Sequence[Rule] = ()) -> Tensor:
    """The float32 tensor NAME of `shape`; without a rule that fits, of mean 0 and variance 1."""
    scale, offset = next(((s, o) for pattern, s, o in rules if re.search(pattern, name)), (1.0, 0.0))
    values = (_uniform(name, math.prod(shape)) - 0.5) * math.sqrt(12) * scale + offset
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def _uniform(name: str, count: int) -> np.ndarray:
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        z = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform(name: str, shape: Sequence[int]) -> Tensor:
    """Numbers in [0, 1) in steps of 2^-24, which float32 holds exactly."""
    values = np.floor(_uniform(name, math.prod(shape)) * 2**24) * 2.0**-24
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def normal(name: str, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers (Box and Muller 1958), float32."""
    count = math.prod(shape)
    radius = np.sqrt(-2 * np.log1p(-_uniform(f"{name}.radius", count)))
    values = radius * np.cos(2 * np.pi * _uniform(f"{name}.angle", count))
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))
