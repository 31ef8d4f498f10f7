"""The discriminator of patches, as in the authors' code of Schwarz et al. 2020."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import ops
from ops.convolution import conv2d
from pipeline.config.families import GRAFConfig
from pipeline.contracts import ImageSpec, Verdict
from pipeline.models.layers import Spectral, SpectralEmbedding, SpectralLinear

_LAST, _EPS = 4, 1e-12


class Discriminator(nn.Module):
    """Judges patches [N, C, K, K] and labels [N]. Convolutions halve the pixels down to 4; weights are
    divided by their largest singular value, and features normalised within each patch and channel, at the
    first convolution only of patches up to 32 pixels."""

    def __init__(self, config: GRAFConfig, spec: ImageSpec) -> None:
        super().__init__()
        sides = [config.patch >> n for n in range(1, (config.patch // _LAST).bit_length())]
        widths = [max(config.discriminator_channels * 32 // side, 1) for side in sides]
        inputs = [spec.channels, *widths[:-1]]
        self.convs = nn.ModuleList(
            Halving(*sizes, normalised=number > 0 or config.patch <= 32)
            for number, sizes in enumerate(zip(inputs, widths, strict=True))
        )
        features = widths[-1] * _LAST**2
        self.out = SpectralLinear(features, 1, bias=False, eps=_EPS)
        kind = config.conditioning if spec.classes else None
        self.projected = SpectralEmbedding(spec.classes, features) if kind == "projection" else None
        self.classify = SpectralLinear(features, spec.classes) if kind == "classifier" else None
        self.apply(_initialise)

    def forward(self, patches: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        x = ops.arranged(patches, patches.dtype)
        for conv in self.convs:
            x = conv(x)
        x = x.flatten(1)
        logits = self.out(x).squeeze(1)
        if self.projected is not None:
            logits = logits + (x * self.projected(labels)).sum(dim=1)
        return Verdict(logits, None if self.classify is None else self.classify(x))


class Halving(Spectral):
    """A 4x4 convolution that halves the resolution, and a leaky ReLU, before which features may be normalised
    to mean 0 and variance 1 over the pixels of each channel (Ulyanov et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, *, normalised: bool) -> None:
        super().__init__(outputs, inputs, 4, 4, eps=_EPS)
        self.of_patches = normalised

    def forward(self, x: Tensor) -> Tensor:
        x = conv2d(x, self.normalised(), stride=2, padding=1)
        if not self.of_patches:
            return ops.bias_act(x, act="lrelu", gain=1.0)
        var, mean = torch.var_mean(x, dim=(2, 3), correction=0)
        return ops.conditional_norm_act(x, mean, var, act="lrelu")


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Draws weights as torch does for layers of its own: uniform, with bounds 1 / sqrt(inputs)."""
    if isinstance(module, Halving | SpectralLinear):
        bound = 1 / math.sqrt(module.weight[0].numel())
        module.weight.uniform_(-bound, bound)
