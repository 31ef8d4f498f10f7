"""Discriminators of images that were made of others."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

import ops
from ops.convolution import conv2d
from pipeline.contracts import Verdict
from pipeline.models.layers import InstanceNorm, PatchNetwork, Spectral, SpectralConv2d
from pipeline.models.translation.resnet import halved


class Patches(nn.Module):
    """Judges images [N, C, H, W] in patches at several scales, each half of the one before (Wang et al. 2018,
    section 3.2): one head a scale.

    affine: whether normalisations have gains and biases. telling: whether the verdict's `extra` has what each
    layer but the last made of the images, as "features/SCALE/LAYER".
    """

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        scales: int = 1,
        *,
        affine: bool = True,
        padding: int = 1,
        telling: bool = False,
    ) -> None:
        super().__init__()
        self.telling = telling
        normalised = partial(InstanceNorm, affine=affine)
        self.scales = nn.ModuleList(
            PatchNetwork(channels, width, layers, normalised, padding=padding) for _ in range(scales)
        )

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        heads: list[Tensor] = []
        extra: dict[str, Tensor] = {}
        for number, network in enumerate(self.scales):
            images = halved(images) if number else images
            *features, logits = network.features(images)  # type: ignore[operator]
            heads.append(logits.float().flatten(1))
            if self.telling:
                extra |= {f"features/{number}/{i}": x for i, x in enumerate(features)}
        return Verdict(heads, extra=extra)


class PixelNet(nn.Module):
    """Judges every pixel of images [N, C, H, W]: a U-Net with spectral normalisation, whose upward steps are
    bilinear and added to the features of equal resolution (Wang et al. 2021, section 3.3)."""

    divisor = 8
    """What both sides of the images must be multiples of."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.downs = nn.ModuleList(Halving(width << i, width << (i + 1)) for i in range(3))
        self.ups = nn.ModuleList(
            SpectralConv2d(width << (i + 1), width << i, 3, bias=False) for i in (2, 1, 0)
        )
        self.ends = nn.ModuleList(SpectralConv2d(width, width, 3, bias=False) for _ in range(2))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        x = _leaky(self.first(ops.arranged(images)))
        skips = [x]
        for conv in self.downs:
            x = _leaky(conv(x))
            skips.append(x)
        for i, conv in enumerate(self.ups):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = _leaky(conv(x)) + skips[2 - i]
        for conv in self.ends:
            x = _leaky(conv(x))
        return Verdict(self.last(x).float().flatten(1))


class Halving(Spectral):
    """A spectrally normalised 4x4 convolution that halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(outputs, inputs, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.normalised().to(x.dtype), stride=2, padding=1)


def _leaky(x: Tensor) -> Tensor:
    return ops.bias_act(x, act="lrelu", gain=1.0)
