"""The context encoder (Pathak et al. 2016, section 3.1 and the authors' code)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.models.layers import GroupBatchNorm, initialise
from pipeline.models.translation.generator import TranslatingGenerator

_START = 4  # pixels a side around the bottleneck
_WIDEST = 8


class ContextEncoder(TranslatingGenerator):
    """Fills the centre of square images [N, C, H, H] of one size, of which it makes `bottleneck` numbers
    first; around it the result is 0.

    group: images in each batch statistic.
    """

    def __init__(
        self, channels: int, outputs: int, width: int, side: int, bottleneck: int, group: int
    ) -> None:
        super().__init__()
        self.only, self.margin = side, side // 4
        halvings = int(math.log2(side // _START))
        widths = [width, *(width * min(1 << i, _WIDEST) for i in range(halvings - 1))]
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1)
            for a, b in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.down_norms = nn.ModuleList(GroupBatchNorm(b, group) for b in widths[1:])
        self.bottleneck = nn.Conv2d(widths[-1], bottleneck, _START)
        self.bottleneck_norm = GroupBatchNorm(bottleneck, group)
        rising = [width * min(1 << i, _WIDEST) for i in reversed(range(halvings - 1))]
        self.unfold = nn.ConvTranspose2d(bottleneck, rising[0], _START)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)
            for a, b in zip(rising, [*rising[1:], outputs], strict=True)
        )
        self.up_norms = nn.ModuleList(GroupBatchNorm(b, group) for b in rising)
        self.apply(initialise)

    def forward(self, inputs: Tensor, noise: list[Tensor], *, exact: bool = False) -> Tensor:
        x = ops.bias_act(self.downs[0](ops.arranged(inputs)), act="lrelu", gain=1.0)
        for conv, norm in zip(self.downs[1:], self.down_norms, strict=True):
            x = norm(conv(x), act="lrelu")
        x = self.unfold(self.bottleneck_norm(self.bottleneck(x), act="lrelu"))
        for conv, norm in zip(self.ups, self.up_norms, strict=True):
            x = conv(norm(x, act="relu"))
        border = x.shape[3] // 2
        return F.pad(torch.tanh(x), (border,) * 4)
