"""DCGAN (Radford et al. 2016), which is made of strided convolutions and batch normalisation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

import ops
from ops.convolution import conv2d, conv_transpose2d
from pipeline.config.families import DCGANConfig
from pipeline.contracts import ImageSpec, Networks, Verdict
from pipeline.errors import UserError
from pipeline.models.layers import BatchNorm, LabelledLatent, VerdictHead
from pipeline.models.plain import PlainFamily
from pipeline.models.sides import ALLOWED, sides_of


class DCGAN(PlainFamily):
    """Implements contracts.Family for images of at least two levels of `models.sides`.

    Batch statistics are computed over the images that all processes hold at once (`batch.micro`).
    """

    config: DCGANConfig

    def __init__(self, config: DCGANConfig, spec: ImageSpec, **settings: Any) -> None:
        """Raises UserError for images that the family cannot make."""
        self.config, self.spec = config, spec
        seen = self.codec.latents(spec)
        sides = sides_of(seen.height, seen.width)
        if not sides.begins or not sides.doublings:
            raise UserError(
                f"dcgan cannot make images of {seen.height}x{seen.width} (height x width); allowed: at least "
                f"once doubled {ALLOWED}"
            )
        super().__init__(config, spec, **settings)

    def networks(self) -> Networks:
        networks = Networks(Generator(self.config, self.seen), Discriminator(self.config, self.seen))
        networks.generator.apply(initialise)
        networks.discriminator.apply(initialise)
        return networks


class Generator(nn.Module):
    """Makes images [N, C, H, W] from z [N, z_dim] and labels [N] (figure 1); in [-1, 1], unless they are
    latents."""

    def __init__(self, config: DCGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.z_dim, self.classes = config.z_dim, spec.classes
        sides = sides_of(spec.height, spec.width)
        widths = levels(config.generator_channels, config.channels_max, sides.doublings)[::-1]
        self.start, self.bounded = sides.start, config.in_pixels
        self.latent = LabelledLatent(config.z_dim, spec.classes, config.label_dim)
        self.project = nn.Linear(self.latent.outputs, widths[0] * math.prod(sides.start), bias=False)
        outputs = [*widths[1:], spec.channels]
        self.convs = nn.ModuleList(
            Doubling(a, b, bias=b == spec.channels) for a, b in zip(widths, outputs, strict=True)
        )
        self.norms = nn.ModuleList(BatchNorm(width) for width in widths)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Tensor:
        return self.decode(self.code(z, labels), exact=exact)

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        code: Tensor = self.latent(z, labels)
        return code

    def code_weight(self) -> Tensor:
        return self.project.weight

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor:
        x = self.project(code)
        x = ops.arranged(x.view(len(x), -1, *self.start), x.dtype)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = conv(norm(x, act="relu"))
        return torch.tanh(x) if self.bounded else x


class Discriminator(nn.Module):
    """Judges images [N, C, H, W] and labels [N]; the layer next to the image has no normalisation."""

    def __init__(self, config: DCGANConfig, spec: ImageSpec) -> None:
        super().__init__()
        sides = sides_of(spec.height, spec.width)
        widths = levels(config.discriminator_channels, config.channels_max, sides.doublings)
        inputs = [spec.channels, *widths[:-1]]
        self.convs = nn.ModuleList(
            Halving(a, b, bias=a == spec.channels) for a, b in zip(inputs, widths, strict=True)
        )
        self.norms = nn.ModuleList(BatchNorm(width) for width in widths[1:])
        features = widths[-1] * math.prod(sides.start)
        self.head = VerdictHead(features, spec.classes, config.label_dim, config.conditioning)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        x = self.convs[0](ops.arranged(images, images.dtype))
        x = ops.bias_act(x, act="lrelu", gain=1.0)
        for conv, norm in zip(self.convs[1:], self.norms, strict=True):
            x = norm(conv(x), act="lrelu")
        verdict: Verdict = self.head(x.flatten(1), labels)
        return verdict


class Doubling(nn.ConvTranspose2d):
    """A transposed 4x4 convolution that doubles the resolution."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = conv_transpose2d(x, self.weight, stride=2, padding=1)
        return y if self.bias is None else ops.bias_act(y, self.bias)


class Halving(nn.Conv2d):
    """A 4x4 convolution that halves the resolution and can be differentiated twice, as penalties do."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = conv2d(x, self.weight, stride=2, padding=1)
        return y if self.bias is None else ops.bias_act(y, self.bias)


def levels(base: int, most: int, doublings: int) -> list[int]:
    """Returns the channels of each layer, from the image down to the start."""
    return [min(base << i, most) for i in range(doublings)]


def initialise(module: nn.Module) -> None:
    """Draws weights from N(0, 0.02) and the gains of normalisation from N(1, 0.02) (section 4; the authors'
    code), where the second number is the standard deviation.

    A label embedding that is concatenated to z is drawn with the spread of z: at 0.02 it would be negligible
    beside it.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, BatchNorm) and module.gain is not None:
        nn.init.normal_(module.gain, mean=1.0, std=0.02)
    if isinstance(module, LabelledLatent) and module.embed is not None:
        nn.init.normal_(module.embed.weight)
