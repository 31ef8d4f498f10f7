"""PixelCNN++ of Salimans et al. 2017: two streams of shifted convolutions at several scales."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.layers import Recomputable
from pipeline.models.pixelcnn.dropout import Dropout
from pipeline.models.pixelcnn.likelihoods import Logistics
from pipeline.models.pixelcnn.masks import OfClass
from pipeline.models.pixelcnn.rows import Rows
from pipeline.models.pixelcnn.weight_norm import Down, ShiftedConv2d, ShiftedDoubling, right, settle

_above = partial(ShiftedConv2d, kernel=(2, 3), right=1)
_left = partial(ShiftedConv2d, kernel=(2, 2))
_SECOND = 0.1
"""The standard deviation of what a fresh block adds, before its gate."""
_START_IMAGES, _START_SIDE, _START_GRID = 8, 16, 4

Streams = tuple[Tensor, Tensor]
"""Features that know the rows above, and features that also know what is to the left, both [N, C, H, W]."""


class ShiftedNetwork(nn.Module):
    """Tells a mixture of logistic distributions of each pixel from the pixels before it.

    colours: the channels of images. channels: those of each stream. blocks: gated blocks of each scale on the
    way down; on the way back it is one more but at the last. scales: each of half the resolution. components:
    of the mixture.

    Sides that no halving divides are filled up below and to the right. Gains and biases are set with images
    of smooth noise, drawn as the weights are: the same on every process, and before any data are seen.
    """

    def __init__(
        self, colours: int, channels: int, blocks: int, scales: int, components: int, classes: int
    ) -> None:
        super().__init__()
        self.classes, self.likelihood = classes, Logistics(colours, components)
        self.multiple = 1 << (scales - 1)
        inputs = colours + 1  # a channel of ones tells the image from what surrounds it
        self.above = ShiftedConv2d(inputs, channels, (2, 3), right=1)
        self.beside_above = ShiftedConv2d(inputs, channels, (1, 3), right=1)
        self.left = ShiftedConv2d(inputs, channels, (2, 1))
        self.down, self.down_beside = Down(), Down()
        self.scale = Scale(channels, blocks, scales, classes)
        self.last = ShiftedConv2d(channels, self.likelihood.parameters)
        grid = torch.rand(_START_IMAGES, colours, _START_GRID, _START_GRID)
        noise = F.interpolate(grid, size=_START_SIDE, mode="bilinear") * 2 - 1
        settle(self, noise, torch.arange(_START_IMAGES) % classes if classes else None)

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None,
        dropout: Dropout | None = None,
        rows: Rows | None = None,
        *,
        exact: bool = False,
    ) -> Tensor:
        """Returns the likelihood's parameters [N, P, H, W] for images [N, C, H, W] in [-1, 1]. rows: the
        memory of the rows above, of images that are shown row by row."""
        height, width = images.shape[2:]
        below = 0 if rows is not None else -height % self.multiple
        x = F.pad(
            torch.cat([images, torch.ones_like(images[:, :1])], dim=1), (0, -width % self.multiple, 0, below)
        )
        above = self.down(self.above(x, rows), rows)
        left = self.down_beside(self.beside_above(x, rows), rows) + right(self.left(x, rows))
        _, left = self.scale((above, left), labels, dropout, rows)
        parameters: Tensor = self.last(F.elu(left), rows)
        return parameters[:, :, :height, :width]

    def activations(self, height: int, width: int) -> int:
        """Returns how many numbers of an image dropout may remove."""
        return self.scale.activations(height + -height % self.multiple, width + -width % self.multiple)


class Scale(nn.Module):
    """The blocks of one resolution, and within them the lower ones, of which there are `scales` - 1 more
    (Salimans et al. 2017, section 2.3). Blocks on the way back see what those on the way down made, last
    first (section 2.4). depth: how often the image was halved before."""

    def __init__(self, channels: int, blocks: int, scales: int, classes: int, depth: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.there = nn.ModuleList(Pair(channels, classes, skips=False) for _ in range(blocks))
        self.lower = Lower(channels, blocks, scales - 1, classes, depth) if scales > 1 else None
        back = blocks if self.lower is None else blocks + 1
        self.back = nn.ModuleList(Pair(channels, classes, skips=True) for _ in range(back))

    def forward(
        self, streams: Streams, labels: Tensor | None, dropout: Dropout | None, rows: Rows | None
    ) -> Streams:
        seen = [streams]
        for pair in self.there:
            seen.append(pair(seen[-1], None, labels, dropout, rows))
        streams = seen.pop() if self.lower is None else self.lower(seen[-1], labels, dropout, rows)
        for pair in self.back:
            streams = pair(streams, seen.pop(), labels, dropout, rows)
        return streams

    def activations(self, height: int, width: int) -> int:
        """See `ShiftedNetwork`."""
        pairs = len(self.there) + len(self.back)
        lower = 0 if self.lower is None else self.lower.scale.activations(height // 2, width // 2)
        return pairs * 2 * (2 * self.channels) * height * width + lower


class Lower(nn.Module):
    """A scale of half the resolution between strided convolutions and their transposes.

    Shown row by row, it computes once for two rows: both depend on the first of them and those above alone.
    """

    def __init__(self, channels: int, blocks: int, scales: int, classes: int, depth: int) -> None:
        super().__init__()
        self.halving = nn.ModuleList(
            [_above(channels, channels, stride=2), _left(channels, channels, stride=2)]
        )
        self.scale = Scale(channels, blocks, scales, classes, depth + 1)
        self.doubling = nn.ModuleList([ShiftedDoubling(channels, 3, right=1), ShiftedDoubling(channels, 2)])
        self._depth = depth

    def forward(
        self, streams: Streams, labels: Tensor | None, dropout: Dropout | None, rows: Rows | None
    ) -> Streams:
        second = rows is not None and (rows.number >> self._depth) % 2
        halved = [halve(stream, rows) for halve, stream in zip(self.halving, streams, strict=True)]
        if rows is not None and second:
            known = rows.last(self)
            assert known is not None, "the first of two rows came before"
            return known[0][:, :, 1:], known[1][:, :, 1:]
        low = self.scale((halved[0], halved[1]), labels, dropout, rows)
        above, left = (double(stream, rows) for double, stream in zip(self.doubling, low, strict=True))
        if rows is None:
            return above, left
        rows.keep(self, torch.stack([above, left]))
        return above[:, :, :1], left[:, :, :1]


class Pair(nn.Module):
    """A gated block of each stream; that of the second also sees the first. skips: whether both see what
    blocks on the way down made."""

    def __init__(self, channels: int, classes: int, *, skips: bool) -> None:
        super().__init__()
        self.above = GatedBlock(_above, channels, channels if skips else 0, classes)
        self.left = GatedBlock(_left, channels, 2 * channels if skips else channels, classes)

    def forward(
        self,
        streams: Streams,
        skip: Streams | None,
        labels: Tensor | None,
        dropout: Dropout | None,
        rows: Rows | None,
    ) -> Streams:
        first, skipped = streams[0], None if skip is None else skip[0]

        def above_all() -> Tensor:
            return self._block(self.above, first, skipped, labels, dropout, rows)

        above = above_all() if rows is None else rows.in_row(self, above_all)
        beside = above if skip is None else torch.cat([above, skip[1]], dim=1)
        return above, self._block(self.left, streams[1], beside, labels, dropout, rows)

    @staticmethod
    def _block(
        block: nn.Module,
        x: Tensor,
        beside: Tensor | None,
        labels: Tensor | None,
        dropout: Dropout | None,
        rows: Rows | None,
    ) -> Tensor:
        factors = None if dropout is None else dropout.factors((2 * x.shape[1], x.shape[2], x.shape[3]))
        result: Tensor = block(x, beside, labels, factors, rows)
        return result


class GatedBlock(Recomputable):
    """Adds a gated function of x [N, C, H, W] to it (Salimans et al. 2017, section 2.3; the gate is that of
    van den Oord et al. 2016b, eq. 2, with one half of the features linear).

    make: makes a convolution from numbers of inputs and outputs. beside: the channels of what it sees
    besides; 0 for none.
    """

    def __init__(self, make: partial[ShiftedConv2d], channels: int, beside: int, classes: int) -> None:
        super().__init__()
        self.first = make(2 * channels, channels)
        self.beside = ShiftedConv2d(2 * beside, channels) if beside else None
        self.second = make(2 * channels, 2 * channels, initial_scale=_SECOND)
        self.label = OfClass(classes, 2 * channels)

    def compute(
        self,
        x: Tensor,
        beside: Tensor | None,
        labels: Tensor | None,
        factors: Tensor | None,
        rows: Rows | None,
    ) -> Tensor:
        """beside: further features [N, C', H, W]. factors: of dropout, [N, 2 C, H, W]; None for none."""
        inner = self.first(concat_elu(x), rows)
        if self.beside is not None:
            assert beside is not None, "told what it sees besides"
            inner = inner + self.beside(concat_elu(beside), rows)
        inner = concat_elu(inner)
        inner = inner if factors is None else inner * factors
        linear, gate = self.label(self.second(inner, rows), labels).chunk(2, dim=1)
        result: Tensor = x + linear * torch.sigmoid(gate)
        return result


def concat_elu(x: Tensor) -> Tensor:
    """Returns the exponential linear units of x and of -x, [N, 2 C, H, W], after the concatenated ReLU of
    Shang et al. 2016."""
    return F.elu(torch.cat([x, -x], dim=1))
