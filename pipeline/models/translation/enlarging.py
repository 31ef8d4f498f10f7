"""The generators of super-resolution: SRResNet (Ledig et al. 2017, figure 4) and RRDB (Wang et al. 2018b,
ESRGAN, figure 4), without batch normalisation, as BasicSR (Apache-2.0) builds them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.models.translation.generator import TranslatingGenerator

_SMALL = 0.1  # what the weights of He et al. 2015 are multiplied by
_RESIDUAL = 0.2  # what a dense block adds, and a block of three (Wang et al. 2018b, section 3.1)
_STEPS = 2  # doublings of resolution


class SRResNet(TranslatingGenerator):
    """Makes images [N, C, H * scale, W * scale] of images [N, C, H, W]: what it adds to their bilinear
    enlargement."""

    def __init__(self, channels: int, width: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.scale, steps = scale, int(math.log2(scale))
        self.reach = 2 * blocks + 5
        self.first = _conv(channels, width)
        self.blocks = nn.Sequential(*(Plain(width) for _ in range(blocks)))
        self.ups = nn.ModuleList(_conv(width, 4 * width) for _ in range(steps))
        self.before_last = _conv(width, width)
        self.last = _conv(width, channels)

    def forward(self, images: Tensor, noise: list[Tensor], *, exact: bool = False) -> Tensor:
        x = self.blocks(_leaky(self.first(ops.arranged(images)), 0.1))
        for conv in self.ups:
            x = _leaky(F.pixel_shuffle(conv(x), 2), 0.1)
        x = self.last(_leaky(self.before_last(x), 0.1))
        return torch.add(x, F.interpolate(images, scale_factor=self.scale, mode="bilinear"))


class Plain(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.second(F.relu(self.first(x))))


class RRDB(TranslatingGenerator):
    """Makes images [N, C, H * scale, W * scale] of images [N, C, H, W], always in two doublings: for scale 2
    the pixels of each 2x2 square become channels first. The convolutions of its dense blocks alone begin
    small."""

    def __init__(self, channels: int, width: int, blocks: int, growth: int, scale: int) -> None:
        super().__init__()
        self.divisor = (1 << _STEPS) // scale
        self.reach = (15 * blocks + 5) * self.divisor
        self.first = _plain(channels * self.divisor**2, width)
        self.blocks = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        self.after = _plain(width, width)
        self.ups = nn.ModuleList(_plain(width, width) for _ in range(_STEPS))
        self.before_last = _plain(width, width)
        self.last = _plain(width, channels)

    def forward(self, images: Tensor, noise: list[Tensor], *, exact: bool = False) -> Tensor:
        x = self.first(F.pixel_unshuffle(ops.arranged(images), self.divisor))
        x = x + self.after(self.blocks(x))
        for conv in self.ups:
            x = _leaky(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.last(_leaky(self.before_last(x), 0.2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Three dense blocks, each and all of which add a fifth of what they make."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.parts = nn.Sequential(*(Dense(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.parts(x), alpha=_RESIDUAL)


class Dense(nn.Module):
    """Five convolutions, each of which sees all that those before it have made."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = [*[growth] * 4, width]
        self.convs = nn.ModuleList(_conv(width + i * growth, made) for i, made in enumerate(outputs))

    def forward(self, x: Tensor) -> Tensor:
        made = x
        for conv in self.convs[:-1]:
            made = torch.cat([made, _leaky(conv(made), 0.2)], dim=1)
        return torch.add(x, self.convs[-1](made), alpha=_RESIDUAL)


def _plain(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution with a tenth of the usual weights, so that a deep network begins near what it adds
    to (Wang et al. 2018b, section 3.1)."""
    conv = _plain(inputs, outputs)
    nn.init.kaiming_normal_(conv.weight)
    conv.weight.data.mul_(_SMALL)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _leaky(x: Tensor, slope: float) -> Tensor:
    return ops.bias_act(x, act="lrelu", alpha=slope, gain=1.0)
