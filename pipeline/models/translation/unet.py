"""The U-Net of pix2pix (Isola et al. 2017, section 3.2.1 and appendix 6.1.1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

import ops
from pipeline.models.layers import InstanceNorm, initialise
from pipeline.models.translation.generator import TranslatingGenerator

_WIDEST = 8  # channels of the innermost layers, as a multiple of those of the outermost
_NOISY = 3  # innermost layers of the decoder that have dropout


class UNet(TranslatingGenerator):
    """Makes images [N, C', H, W] in [-1, 1] of images [N, C, H, W]. 4x4 convolutions halve the resolution
    `levels` times and double it again; layers of equal resolution are joined.

    Its noise is dropout in the innermost layers of the decoder, in training and after it: for an image, one
    uniform number for each entry of those layers' results (`noise_shapes`).
    """

    def __init__(self, channels: int, outputs: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * min(1 << i, _WIDEST) for i in range(levels)]
        self.divisor = self.least = 1 << levels
        self.widths = widths
        self.first = nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1, bias=i == levels - 2)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.down_norms = nn.ModuleList(InstanceNorm(b, affine=True) for b in widths[1:-1])
        # The innermost layer takes its own features alone; the others those of the encoder too.
        inputs = [widths[-1], *(2 * b for b in widths[-2::-1])]
        results = [*widths[-2::-1], outputs]
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=i == levels - 1)
            for i, (a, b) in enumerate(zip(inputs, results, strict=True))
        )
        self.up_norms = nn.ModuleList(InstanceNorm(b, affine=True) for b in results[:-1])
        self.apply(initialise)

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Returns the shapes of the uniform numbers that the decoder takes for an image of this size."""
        noisy = self.widths[-2::-1][:_NOISY]
        halved = len(self.widths) - 1
        return [(c, height >> (halved - i), width >> (halved - i)) for i, c in enumerate(noisy)]

    def forward(self, images: Tensor, noise: list[Tensor], *, exact: bool = False) -> Tensor:
        x = self.first(ops.arranged(images))
        skips = [x]
        for i, conv in enumerate(self.downs):
            x = conv(ops.bias_act(x, act="lrelu", gain=1.0))
            x = self.down_norms[i](x) if i < len(self.down_norms) else x
            skips.append(x)
        for i, conv in enumerate(self.ups):
            joined = x if i == 0 else torch.cat([skips[-1 - i], x], dim=1)
            x = conv(ops.bias_act(joined, act="relu", gain=1.0))
            x = self.up_norms[i](x) if i < len(self.up_norms) else x
            x = x * (noise[i] >= 0.5) * 2 if i < len(noise) else x
        return torch.tanh(x)
