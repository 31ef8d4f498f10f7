"""The layers of the autoencoder of Rombach et al. 2022, which are those of Esser et al. 2021."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.layers import Recomputable

_EPS = 1e-6


class Norm(nn.GroupNorm):
    """Group normalisation (Wu and He 2018) of [N, C, H, W]."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(groups, channels, eps=_EPS)


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """Returns a 3x3 convolution that keeps the size of the image."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Block(Recomputable):
    """x + conv(swish(norm(conv(swish(norm(x)))))): [N, Cin, H, W] -> [N, Cout, H, W]. If the number of
    channels changes, x passes through a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(inputs, groups), conv3(inputs, outputs)
        self.norm2, self.conv2 = Norm(outputs, groups), conv3(outputs, outputs)
        self.skip = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def compute(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        y: Tensor = h + (x if self.skip is None else self.skip(x))
        return y


class Attention(Recomputable):
    """x + self-attention with one head between all positions (Esser et al. 2021): [N, C, H, W] -> the
    same."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = Norm(channels, groups)
        self.query, self.key, self.value, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def compute(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        query, key, value = (_sequence(part(h)) for part in (self.query, self.key, self.value))
        found = F.scaled_dot_product_attention(query, key, value)  # [N, 1, HW, C]
        y: Tensor = x + self.out(found.squeeze(1).transpose(1, 2).reshape(x.shape))
        return y


def _sequence(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 1, HW, C]."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1)


class Middle(nn.Module):
    """A block, self-attention if there is any, and a block, at the resolution of the latents."""

    def __init__(self, channels: int, groups: int, *, attention: bool) -> None:
        super().__init__()
        self.first = Block(channels, channels, groups)
        self.attention = Attention(channels, groups) if attention else None
        self.second = Block(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.attention is not None:
            x = self.attention(x)
        y: Tensor = self.second(x)
        return y


class Halving(nn.Conv2d):
    """A 3x3 convolution that halves the resolution; the image is padded at its right and lower edge alone, so
    that output (i, j) sees the inputs (2i to 2i + 2, 2j to 2j + 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Doubling(nn.Conv2d):
    """Repeats each pixel twice along each side, then convolves 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Blocks of one width, and then the resampling to the next level; None at the last one."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, groups: int, resample: nn.Module | None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(inputs if i == 0 else outputs, outputs, groups) for i in range(blocks)
        )
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.resample is None else self.resample(x)
