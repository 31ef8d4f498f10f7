"""The two networks: DCGAN's with residual blocks, told a text (Reed et al. 2016a, figure 2; the authors'
code)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from ops import Activation
from ops.convolution import conv2d
from pipeline.config.families import TextGANConfig
from pipeline.contracts import ImageSpec, Verdict
from pipeline.models.dcgan import Doubling, Halving, levels
from pipeline.models.layers import GroupBatchNorm
from pipeline.models.sides import sides_of
from pipeline.models.textgan.encoders import Hashed, Matcher, Reader, Told


class Same(nn.Conv2d):
    """A convolution that keeps the resolution and can be differentiated twice, as penalties do."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, padding=self.kernel_size[0] // 2)


class Residual(nn.Module):
    """act(x + f(x)), where f narrows [N, C, H, W] to a quarter of its channels and back."""

    def __init__(self, channels: int, group: int, act: Activation) -> None:
        super().__init__()
        narrow = max(channels // 4, 1)
        widths = [channels, narrow, narrow, channels]
        self.act: Activation = act
        self.convs = nn.ModuleList(
            Same(a, b, size) for a, b, size in zip(widths[:-1], widths[1:], (1, 3, 3), strict=True)
        )
        self.norms = nn.ModuleList(GroupBatchNorm(width, group) for width in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv, norm, act in zip(self.convs, self.norms, (self.act, self.act, "linear"), strict=True):
            y = norm(conv(y), act=act)
        return ops.bias_act(x + y, act=self.act, gain=1.0)


class Painter(nn.Module):
    """Makes images [N, C, H, W] in [-1, 1] from z [N, z_dim] and texts' numbers [N, text_dim]. The two lowest
    resolutions have a residual block."""

    def __init__(self, config: TextGANConfig, spec: ImageSpec, text_dim: int) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        sides = sides_of(spec.height, spec.width)
        widths = levels(config.generator_channels, config.channels_max, sides.doublings)[::-1]
        self.start = sides.start
        self.tell = nn.Linear(text_dim, config.told_dim)
        self.project = nn.Linear(
            config.z_dim + config.told_dim, widths[0] * math.prod(sides.start), bias=False
        )
        outputs = [*widths[1:], spec.channels]
        self.convs = nn.ModuleList(
            Doubling(a, b, bias=place == len(widths) - 1)
            for place, (a, b) in enumerate(zip(widths, outputs, strict=True))
        )
        self.norms = nn.ModuleList(GroupBatchNorm(width, config.group) for width in widths)
        self.blocks = nn.ModuleList(Residual(width, config.group, "relu") for width in widths[:2])

    def forward(self, z: Tensor, told: Tensor) -> Tensor:
        heard = F.leaky_relu(self.tell(told), 0.2)
        x = self.project(torch.cat([z, heard], dim=1))
        x = ops.arranged(x.view(len(x), -1, *self.start), x.dtype)
        for level, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            x = conv(self.blocks[level](norm(x)) if level < len(self.blocks) else norm(x, act="relu"))
        return torch.tanh(x)


class Generator(nn.Module):
    """Encoder and painter; with encoder=joint also the matcher, by which the encoder learns."""

    def __init__(self, config: TextGANConfig, spec: ImageSpec, text_dim: int) -> None:
        super().__init__()
        joint = config.encoder == "joint"
        self.encoder: nn.Module = Told()
        if config.encoder == "hashed":
            self.encoder = Hashed(text_dim, config.ngrams)
        if joint:
            self.encoder = Reader(text_dim, config.encoder_channels)
        self.matcher = Matcher(spec, text_dim, config.encoder_channels) if joint else None
        self.painter = Painter(config, spec, text_dim)
        self.painter.apply(initialise)


class Discriminator(nn.Module):
    """Judges whether images [N, C, H, W] are real and show what texts' numbers [N, text_dim] say. The verdict
    has the images' features before they meet the text as `extra[FEATURES]`."""

    def __init__(self, config: TextGANConfig, spec: ImageSpec, text_dim: int) -> None:
        super().__init__()
        sides = sides_of(spec.height, spec.width)
        widths = levels(config.discriminator_channels, config.channels_max, sides.doublings)
        inputs = [spec.channels, *widths[:-1]]
        self.convs = nn.ModuleList(
            Halving(a, b, bias=place == 0) for place, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.norms = nn.ModuleList(GroupBatchNorm(width, config.group) for width in widths[1:])
        self.block = Residual(widths[-1], config.group, "lrelu")
        self.tell = nn.Linear(text_dim, config.told_dim)
        self.meet = Same(widths[-1] + config.told_dim, widths[-1], 1)
        self.met = GroupBatchNorm(widths[-1], config.group)
        self.out = nn.Linear(widths[-1] * math.prod(sides.start), 1)
        self.apply(initialise)

    def forward(self, images: Tensor, told: Tensor, *, exact: bool = False) -> Verdict:
        x = self.convs[0](ops.arranged(images, images.dtype))
        x = ops.bias_act(x, act="lrelu", gain=1.0)
        for place, (conv, norm) in enumerate(zip(self.convs[1:], self.norms, strict=True), 1):
            x = norm(conv(x), act="linear" if place == len(self.norms) else "lrelu")
        features = self.block(x)
        return Verdict(self.joined(features, told), extra={FEATURES: features})

    def joined(self, features: Tensor, told: Tensor) -> Tensor:
        """Returns the logits [N] of images with these features and these texts."""
        heard = F.leaky_relu(self.tell(told.to(features.dtype)), 0.2)
        everywhere = heard[:, :, None, None].expand(-1, -1, *features.shape[2:])
        x = self.met(self.meet(torch.cat([features, everywhere], dim=1)), act="lrelu")
        logits: Tensor = self.out(x.flatten(1)).squeeze(1)
        return logits


FEATURES = "features"


def initialise(module: nn.Module) -> None:
    """Draws weights from N(0, 0.02) and the gains of normalisation from N(1, 0.02), where the second number
    is the standard deviation (the authors' code)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, GroupBatchNorm) and module.gain is not None:
        nn.init.normal_(module.gain, mean=1.0, std=0.02)
