"""Residual blocks and self-attention of BigGAN and BigGAN-deep (Brock et al. 2019, figures 15 and 16).

Resampling and 1x1 convolutions commute, so skip connections apply them in the cheaper order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ops import Activation
from pipeline.models.biggan.shape import Block, Shape
from pipeline.models.layers import BatchNorm, Recomputable, SpectralConv2d, SpectralLinear

RATIO = 4  # how much narrower the bottlenecks of BigGAN-deep are


class ConditionalNorm(nn.Module):
    """act(batch normalisation) with gain 1 + W c and bias V c, where c [N, condition] is each sample's
    condition (appendix B). If the size of the condition is 0, gain and bias are parameters."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        config, condition = shape.config, shape.condition
        self.norm = BatchNorm(channels, affine=not condition, eps=config.norm_eps)
        self.gain = self.bias = None
        if condition:
            self.gain = SpectralLinear(condition, channels, bias=False, eps=config.spectral_eps)
            self.bias = SpectralLinear(condition, channels, bias=False, eps=config.spectral_eps)

    def forward(self, x: Tensor, condition: Tensor | None, act: Activation = "relu") -> Tensor:
        if self.gain is None or self.bias is None or condition is None:
            y: Tensor = self.norm(x, act=act)
        else:
            y = self.norm(x, 1 + self.gain(condition), self.bias(condition), act=act)
        return y


class GeneratorBlock(Recomputable):
    """Maps [N, Cin, H, W] and conditions [N, condition] to [N, Cout, 2H, 2W] (figure 15b)."""

    def __init__(self, shape: Shape, block: Block) -> None:
        super().__init__()
        eps = shape.config.spectral_eps
        self.norm1 = ConditionalNorm(shape, block.inputs)
        self.norm2 = ConditionalNorm(shape, block.outputs)
        self.conv1 = SpectralConv2d(block.inputs, block.outputs, 3, eps=eps)
        self.conv2 = SpectralConv2d(block.outputs, block.outputs, 3, eps=eps)
        self.skip = SpectralConv2d(block.inputs, block.outputs, 1, eps=eps)

    def compute(self, x: Tensor, condition: Tensor | None) -> Tensor:
        h = self.conv1(doubled(self.norm1(x, condition)))
        h = self.conv2(self.norm2(h, condition))
        y: Tensor = h + doubled(self.skip(x))
        return y


class DeepGeneratorBlock(Recomputable):
    """Maps [N, Cin, H, W] and conditions to [N, Cout, H, W], at twice the resolution if the block resamples
    (figure 16b). The skip connection keeps the first Cout channels."""

    def __init__(self, shape: Shape, block: Block) -> None:
        super().__init__()
        eps, hidden = shape.config.spectral_eps, block.inputs // RATIO
        self.outputs, self.doubles = block.outputs, block.resamples
        self.norm1 = ConditionalNorm(shape, block.inputs)
        self.norm2 = ConditionalNorm(shape, hidden)
        self.norm3 = ConditionalNorm(shape, hidden)
        self.norm4 = ConditionalNorm(shape, hidden)
        self.conv1 = SpectralConv2d(block.inputs, hidden, 1, eps=eps)
        self.conv2 = SpectralConv2d(hidden, hidden, 3, eps=eps)
        self.conv3 = SpectralConv2d(hidden, hidden, 3, eps=eps)
        self.conv4 = SpectralConv2d(hidden, block.outputs, 1, eps=eps)

    def compute(self, x: Tensor, condition: Tensor | None) -> Tensor:
        h = self.norm2(self.conv1(self.norm1(x, condition)), condition)
        x = x[:, : self.outputs]
        if self.doubles:
            h, x = doubled(h), doubled(x)
        h = self.conv3(self.norm3(self.conv2(h), condition))
        y: Tensor = self.conv4(self.norm4(h, condition)) + x
        return y


class DiscriminatorBlock(Recomputable):
    """Maps [N, Cin, H, W] to [N, Cout, H, W], at half the resolution if the block resamples (figure 15c).

    first: whether the block takes the image; then there is no ReLU before its first convolution.
    """

    def __init__(self, shape: Shape, block: Block, first: bool) -> None:
        super().__init__()
        eps = shape.config.spectral_eps
        self.first, self.halves = first, block.resamples
        self.conv1 = SpectralConv2d(block.inputs, block.outputs, 3, eps=eps)
        self.conv2 = SpectralConv2d(block.outputs, block.outputs, 3, eps=eps)
        projects = block.resamples or block.inputs != block.outputs
        self.skip = SpectralConv2d(block.inputs, block.outputs, 1, eps=eps) if projects else None

    def compute(self, x: Tensor) -> Tensor:
        h = self.conv2(self.conv1(x if self.first else F.relu(x), act="relu"))
        if self.halves:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        y: Tensor = h + (x if self.skip is None else self.skip(x))
        return y


class DeepDiscriminatorBlock(Recomputable):
    """Maps [N, Cin, H, W] to [N, Cout, H, W], at half the resolution if the block resamples (figure 16c). The
    skip connection keeps the channels and appends further ones, computed by a 1x1 convolution."""

    def __init__(self, shape: Shape, block: Block) -> None:
        super().__init__()
        eps, hidden = shape.config.spectral_eps, block.outputs // RATIO
        self.halves = block.resamples
        self.conv1 = SpectralConv2d(block.inputs, hidden, 1, eps=eps)
        self.conv2 = SpectralConv2d(hidden, hidden, 3, eps=eps)
        self.conv3 = SpectralConv2d(hidden, hidden, 3, eps=eps)
        self.conv4 = SpectralConv2d(hidden, block.outputs, 1, eps=eps)
        more = block.outputs - block.inputs
        self.skip = SpectralConv2d(block.inputs, more, 1, eps=eps) if more else None

    def compute(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(x), act="relu")
        h = self.conv3(self.conv2(h, act="relu"), act="relu")
        if self.halves:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        x = x if self.skip is None else torch.cat([x, self.skip(x)], dim=1)
        y: Tensor = self.conv4(h) + x
        return y


class Attention(nn.Module):
    """x + gamma * self-attention, [N, C, H, W] -> the same shape (Zhang et al. 2019, section 3). As in their
    code, keys and values are max-pooled by 2, and dot products are not scaled. gamma starts at 0."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.theta = SpectralConv2d(channels, channels // 8, 1, bias=False, eps=eps)
        self.phi = SpectralConv2d(channels, channels // 8, 1, bias=False, eps=eps)
        self.g = SpectralConv2d(channels, channels // 2, 1, bias=False, eps=eps)
        self.o = SpectralConv2d(channels // 2, channels, 1, bias=False, eps=eps)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, *, exact: bool = False) -> Tensor:
        """exact: whether to use operations that have second derivatives."""
        n, _, height, width = x.shape
        query = _places(self.theta(x))
        key, value = _places(largest(self.phi(x))), _places(largest(self.g(x)))
        if exact:
            seen = (query @ key.transpose(2, 3)).softmax(dim=-1) @ value
        else:
            seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        seen = seen[:, 0].transpose(1, 2).reshape(n, -1, height, width)
        y: Tensor = x + self.gamma.to(x.dtype) * self.o(seen)
        return y


def _places(x: Tensor) -> Tensor:
    """Returns [N, C, H, W] as a sequence of places with one head, [N, 1, H * W, C]."""
    return x.flatten(2).transpose(1, 2)[:, None]


def doubled(x: Tensor) -> Tensor:
    """Repeats each pixel 2x2 times: [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def largest(x: Tensor) -> Tensor:
    """Returns the maximum of each 2x2 pixels: [N, C, H, W] -> [N, C, H/2, W/2]."""
    if not (x.is_cuda and torch.are_deterministic_algorithms_enabled()):
        return F.max_pool2d(x, 2)
    return largest_in_order(x)


def largest_in_order(x: Tensor) -> Tensor:
    """Does the same as `largest`, by operations whose gradient torch computes in a fixed order."""
    n, c, h, w = x.shape
    squares = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(3, 4).flatten(4)
    values: Tensor = squares.max(dim=4).values
    return values
