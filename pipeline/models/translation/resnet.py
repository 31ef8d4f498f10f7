"""The residual generators of Johnson et al. 2016 for image translation: CycleGAN's, and the global one of
pix2pixHD with its local enhancer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.contracts import Scalar
from pipeline.models.layers import InstanceNorm, initialise
from pipeline.models.translation.generator import TranslatingGenerator

MIRRORED = 3
"""Pixels of the mirrored border of the first and the last convolution."""


class Block(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), with 3x3 convolutions of mirrored borders."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3) for _ in range(2))
        self.norm = InstanceNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convs[0](mirrored(x, 1)), act="relu")
        return torch.add(x, self.norm(self.convs[1](mirrored(y, 1))))


class Stem(nn.Module):
    """A 7x7 convolution with mirrored borders, and `halvings` 3x3 ones that each halve the resolution and
    double the channels."""

    def __init__(self, channels: int, width: int, halvings: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 7)
        self.downs = nn.ModuleList(
            nn.Conv2d(width << i, width << (i + 1), 3, stride=2, padding=1) for i in range(halvings)
        )
        self.norm = InstanceNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.norm(self.first(mirrored(ops.arranged(images), MIRRORED)), act="relu")
        for conv in self.downs:
            x = self.norm(conv(x), act="relu")
        return x


class Rise(nn.Module):
    """`doublings` transposed 3x3 convolutions that each double the resolution and halve the channels, down to
    `width`."""

    def __init__(self, width: int, doublings: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(width << i, width << (i - 1), 3, stride=2, padding=1, output_padding=1)
            for i in range(doublings, 0, -1)
        )
        self.norm = InstanceNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.ups:
            x = self.norm(conv(x), act="relu")
        return x


class ResNet(TranslatingGenerator):
    """Makes images [N, C', H, W] in [-1, 1] of images [N, C, H, W] (Zhu et al. 2017, appendix 7.2; the global
    generator of Wang et al. 2018, appendix A, has four halvings and nine blocks).

    Biases before a normalisation have no effect and are kept as the authors' code has them.
    """

    def __init__(self, channels: int, outputs: int, width: int, halvings: int, blocks: int) -> None:
        super().__init__()
        self.divisor = 1 << halvings
        self.least = max(2 * self.divisor, MIRRORED + 1)
        self.stem = Stem(channels, width, halvings)
        self.blocks = nn.Sequential(*(Block(width << halvings) for _ in range(blocks)))
        self.rise = Rise(width, halvings)
        self.last = nn.Conv2d(width, outputs, 7)
        self.apply(initialise)

    def features(self, images: Tensor) -> Tensor:
        """Returns what the last convolution takes, [N, width, H, W]."""
        return self.rise(self.blocks(self.stem(images)))  # type: ignore[no-any-return]

    def forward(self, images: Tensor, noise: list[Tensor], *, exact: bool = False) -> Tensor:
        return torch.tanh(self.last(mirrored(self.features(images), MIRRORED)))


class Enhancer(TranslatingGenerator):
    """A `ResNet` at half of the resolution inside a local enhancer at the whole one (Wang et al. 2018,
    section 3.2): the features of both are added before the enhancer's blocks.

    width: channels of the enhancer at the whole resolution; the inner network has twice as many.
    """

    def __init__(
        self, channels: int, outputs: int, width: int, halvings: int, blocks: int, own_blocks: int
    ) -> None:
        super().__init__()
        self.divisor = 2 << halvings
        self.least = 2 * self.divisor
        self.inner = ResNet(channels, outputs, 2 * width, halvings, blocks)
        self.stem = Stem(channels, width, 1)
        self.blocks = nn.Sequential(*(Block(2 * width) for _ in range(own_blocks)))
        self.rise = Rise(width, 1)
        self.last = nn.Conv2d(width, outputs, 7)
        for part in (self.stem, self.blocks, self.rise, self.last):
            part.apply(initialise)

    def forward(
        self, images: Tensor, noise: list[Tensor], *, exact: bool = False, inner: Scalar = 1.0
    ) -> Tensor:
        """inner: the factor on the inner network's gradients, 0 while the enhancer learns alone."""
        within = self.inner.features(halved(images))
        x = self.stem(images) + within * inner + (within * (1 - inner)).detach()
        return torch.tanh(self.last(mirrored(self.rise(self.blocks(x)), MIRRORED)))


def mirrored(x: Tensor, border: int) -> Tensor:
    """Returns x with a mirrored border."""
    return F.pad(x, (border, border, border, border), mode="reflect")


def halved(images: Tensor) -> Tensor:
    """Returns images at half of the resolution: means of 3x3 pixels, of which those outside do not count."""
    return F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
