"""LaMa's generator, of fast Fourier convolutions (Chi et al. 2020; Suvorov et al. 2022, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ops
from pipeline.models.layers import GroupBatchNorm
from pipeline.models.translation.generator import TranslatingGenerator
from pipeline.models.translation.resnet import MIRRORED, mirrored

Pair = tuple[Tensor, Tensor]
"""Features that see their surroundings, and features that see the whole image."""


class FourierNet(TranslatingGenerator):
    """Makes whole images [N, C, H, W] in [-1, 1] of images with holes (`holes.WithHoles`).

    group: images in each batch statistic.
    """

    def __init__(
        self, channels: int, outputs: int, width: int, halvings: int, blocks: int, share: float, group: int
    ) -> None:
        super().__init__()
        self.divisor = 1 << halvings
        self.least = max(2 * self.divisor, MIRRORED + 1)
        self.first = nn.Conv2d(channels, width, 7, bias=False)
        self.first_norm = GroupBatchNorm(width, group)
        self.downs = nn.ModuleList(
            nn.Conv2d(width << i, width << (i + 1), 3, stride=2, bias=False) for i in range(halvings)
        )
        wide = width << halvings
        self.whole = round(wide * share)
        self.down_norms = nn.ModuleList(GroupBatchNorm(width << (i + 1), group) for i in range(halvings))
        self.blocks = nn.ModuleList(Block(wide - self.whole, self.whole, group) for _ in range(blocks))
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(width << i, width << (i - 1), 3, stride=2, padding=1, output_padding=1)
            for i in range(halvings, 0, -1)
        )
        self.up_norms = nn.ModuleList(GroupBatchNorm(width << (i - 1), group) for i in range(halvings, 0, -1))
        self.last = nn.Conv2d(width, outputs, 7)

    def forward(self, inputs: Tensor, noise: list[Tensor], *, exact: bool = False) -> Tensor:
        x = self.first_norm(self.first(mirrored(ops.arranged(inputs), MIRRORED)), act="relu")
        for conv, norm in zip(self.downs, self.down_norms, strict=True):
            x = norm(conv(mirrored(x, 1)), act="relu")
        pair = x[:, : -self.whole], x[:, -self.whole :]
        for block in self.blocks:
            pair = block(pair)
        x = torch.cat(pair, dim=1)
        for conv, norm in zip(self.ups, self.up_norms, strict=True):
            x = norm(conv(x), act="relu")
        return torch.tanh(self.last(mirrored(x, MIRRORED)))


class Block(nn.Module):
    """Two fast Fourier convolutions, whose result is added."""

    def __init__(self, near: int, whole: int, group: int) -> None:
        super().__init__()
        self.first, self.second = (FourierConv(near, whole, group) for _ in range(2))

    def forward(self, pair: Pair) -> Pair:
        near, whole = self.second(self.first(pair))
        return pair[0] + near, pair[1] + whole


class FourierConv(nn.Module):
    """Each half of the features is made of both halves, and normalised (Chi et al. 2020, eq. 1 to 3)."""

    def __init__(self, near: int, whole: int, group: int) -> None:
        super().__init__()
        self.near_to_near, self.near_to_whole = _conv(near, near), _conv(near, whole)
        self.whole_to_near = _conv(whole, near)
        self.whole_to_whole = Spectrum(whole, group)
        self.near_norm, self.whole_norm = GroupBatchNorm(near, group), GroupBatchNorm(whole, group)

    def forward(self, pair: Pair) -> Pair:
        near, whole = (mirrored(x, 1) for x in pair)
        made = self.near_to_near(near) + self.whole_to_near(whole)
        seen = self.near_to_whole(near) + self.whole_to_whole(pair[1])
        return self.near_norm(made, act="relu"), self.whole_norm(seen, act="relu")


class Spectrum(nn.Module):
    """x -> conv(y + F(y)) with y = relu(norm(conv(x))), where F convolves the spectrum of y with 1x1 kernels:
    each of its numbers depends on all of the image."""

    def __init__(self, channels: int, group: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter, self.leave = (
            nn.Conv2d(channels, half, 1, bias=False),
            nn.Conv2d(half, channels, 1, bias=False),
        )
        self.enter_norm = GroupBatchNorm(half, group)
        self.within = nn.Conv2d(2 * half, 2 * half, 1, bias=False)
        self.within_norm = GroupBatchNorm(2 * half, group)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter_norm(self.enter(x), act="relu")
        return self.leave(y + self._in_frequencies(y))  # type: ignore[no-any-return]

    def _in_frequencies(self, y: Tensor) -> Tensor:
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        spectrum = torch.fft.rfftn(y, dim=(2, 3), norm="ortho")
        # A channel's real part is followed by its imaginary part, as in the authors' code.
        parts = torch.view_as_real(spectrum).movedim(-1, 2).flatten(1, 2).contiguous()
        made = self.within_norm(self.within(parts), act="relu").unflatten(1, (-1, 2)).movedim(2, -1)
        mended: Tensor = torch.fft.irfftn(
            torch.view_as_complex(made.contiguous()), s=y.shape[2:], dim=(2, 3), norm="ortho"
        )
        return mended


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, bias=False)
