"""ProGAN's discriminator (Karras et al. 2018, table 2), the generator's mirror image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ops
from pipeline.contracts import Scalar, Verdict
from pipeline.models.layers import Linear
from pipeline.models.progan.layers import GrownBlock, HeConv2d, HeLinear, faded, halved, is_whole
from pipeline.models.progan.shape import LOWEST, Shape, level_of


class FromImage(nn.Module):
    """Maps images [N, C, H, W] of one level to features [N, width, H, W]."""

    def __init__(self, shape: Shape, resolution: int) -> None:
        super().__init__()
        self.conv = HeConv2d(shape.channels, shape.width(resolution), 1)
        self.dtype = shape.dtype(resolution)

    def forward(self, images: Tensor, *, exact: bool = False) -> Tensor:
        x: Tensor = self.conv(ops.arranged(images, torch.float32 if exact else self.dtype))
        return x


class DiscriminatorBlock(GrownBlock):
    """Halves the resolution: [N, Cin, H, W] -> [N, Cout, H/2, W/2]."""

    def __init__(self, shape: Shape, resolution: int) -> None:
        super().__init__()
        width, below = shape.width(resolution), shape.width(resolution // 2)
        self.fused = shape.config.fused_scale
        self.conv0 = HeConv2d(width, width, 3)
        self.conv1 = HeConv2d(width, below, 3, resample="down" if self.fused else None)
        self.dtype = shape.dtype(resolution)

    def compute(self, x: Tensor, *, exact: bool = False) -> Tensor:
        x = ops.arranged(x, torch.float32 if exact else self.dtype)
        x = self.conv1(self.conv0(x))
        return x if self.fused else halved(x)


class DiscriminatorHead(GrownBlock):
    """The last layers, from 4px on, always in float32: [N, C, 4, 4] -> [N, outputs]."""

    def __init__(self, shape: Shape, outputs: int) -> None:
        super().__init__()
        width, last = shape.width(LOWEST), shape.width(LOWEST // 2)
        self.group = shape.config.minibatch_stddev_group
        self.conv = HeConv2d(width + (self.group > 1), width, 3)
        self.dense = HeLinear(width * LOWEST * LOWEST, last)
        self.out = Linear(last, outputs)

    def compute(self, x: Tensor, *, exact: bool = False) -> Tensor:
        x = ops.arranged(x, torch.float32)
        if self.group > 1:
            x = ops.minibatch_stddev(x, self.group)
        y: Tensor = self.out(self.dense(self.conv(x).flatten(1)))
        return y


class Discriminator(nn.Module):
    """Judges images of any level; with classes, an auxiliary classifier returns class logits as well."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.classes = shape.classes
        # Lowest resolution first, so that a block has the same name in networks for larger images.
        self.from_image = nn.ModuleList(FromImage(shape, r) for r in shape.resolutions)
        self.blocks = nn.ModuleList(DiscriminatorBlock(shape, r) for r in shape.resolutions[1:])
        self.head = DiscriminatorHead(shape, 1 + self.classes)

    def forward(self, images: Tensor, *, fade: Scalar = 1.0, exact: bool = False) -> Verdict:
        """Judges images [N, C, r, r] in about [-1, 1], where r is the resolution of a level.

        fade: the weight of the features of that level; the features of the image at half the resolution have
        weight 1 - fade (figure 2). exact: whether to compute in float32 throughout.
        """
        level = level_of(images.shape[2])
        x = self.from_image[level](images, exact=exact)
        if level:
            x = self.blocks[level - 1](x, exact=exact)
            if not is_whole(fade):
                x = faded(self.from_image[level - 1](halved(images), exact=exact), x, fade)
        for block in reversed(self.blocks[: max(level - 1, 0)]):
            x = block(x, exact=exact)
        out = self.head(x, exact=exact)
        return Verdict(out[:, 0], out[:, 1:] if self.classes else None)
