"""The averaged generator, from which samples and snapshots are made."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Averager:
    """Keeps an exponential moving average of a generator's parameters; buffers are copied.

    average: the averaged module, in float32 and eval mode, without gradients.
    """

    def __init__(self, generator: nn.Module) -> None:
        self._source = generator
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, beta: float) -> None:
        """Sets average <- beta * average + (1 - beta) * generator (Yazici et al. 2019, eq. 1)."""
        averages: list[Tensor] = list(self.average.parameters())
        sources: list[Tensor] = list(self._source.parameters())
        if averages:
            torch._foreach_lerp_(averages, sources, 1.0 - beta)
        buffers: list[Tensor] = list(self.average.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(self._source.buffers()))
