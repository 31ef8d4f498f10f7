"""The noise in front of the discriminator, which hides more of coarser levels (GAT's "multi-level noise").

The amounts and the chain are those of the authors' code; the paper's text has another parametrisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def amounts_of(levels: int, signal: float, floor: float) -> tuple[float, ...]:
    """Returns the amount t of noise of each level, coarsest first: 1 - signal^(1 - i / (levels - 1)) + floor.

    With several levels the coarsest has 1 - signal + floor; the last one has `floor`.
    """
    last = max(levels - 1, 1)
    return tuple(1 - signal ** ((levels - 1 - i) / last) + floor for i in range(levels))


def noised(
    levels: Sequence[Tensor], fresh: Sequence[Tensor], amounts: Sequence[float], scales: Sequence[int]
) -> tuple[Tensor, ...]:
    """Returns each level as (1 - t) x + n, where n is normal noise of standard deviation t.

    A coarser level's noise is that of the next finer one, averaged to its size and scaled by the ratio of
    their signals, plus fresh noise. A coarser level is thus the finer one noised further wherever the levels
    agree, and no average over levels removes noise.

    levels: [N, C, H, W] each, the coarsest first, of sides that are `scales` times smaller than the last
    one's. fresh: standard normal numbers of the same shapes. amounts: t of each level, from `amounts_of`.
    """
    shown: list[Tensor] = []
    noise: Tensor | None = None
    for i in reversed(range(len(levels))):
        t = amounts[i]
        if noise is None:
            noise = t * fresh[i]
        else:
            ratio, factor = (1 - t) / (1 - amounts[i + 1]), scales[i] // scales[i + 1]
            kept = ratio * amounts[i + 1] / factor  # the standard deviation that averaging leaves
            noise = ratio * reduced(noise, factor) + math.sqrt(t**2 - kept**2) * fresh[i]
        shown.insert(0, (1 - t) * levels[i] + noise)
    return tuple(shown)


def reduced(images: Tensor, scale: int) -> Tensor:
    """Returns images [N, C, H, W] with each square of scale x scale pixels averaged."""
    return images if scale == 1 else F.avg_pool2d(images, scale)
