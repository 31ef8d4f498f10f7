"""Convolutions that see nothing but what comes before: pixels above and to the left, and earlier colours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.pixelcnn.rows import Rows, under


class MaskedConv2d(nn.Module):
    """A convolution of `side` x `side` with the mask of van den Oord et al. 2016a, section 3.4 (figure 2).

    Only the upper half of the kernel exists; of its last row what lies to the right of the middle is masked.
    In the middle, features of a colour see those of earlier colours (mask A) and, with `own`, those of their
    own (mask B). Features are dealt to colours in equal parts, in order. rows: how many rows the kernel has,
    if not all of the upper half. parts: how many times in succession outputs are dealt to colours.
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        colours: int,
        *,
        own: bool = True,
        rows: int | None = None,
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.above, self.beside = (side // 2 if rows is None else rows - 1), side // 2
        conv = nn.Conv2d(inputs, outputs, (self.above + 1, side))
        self.weight, self.bias = conv.weight, conv.bias
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, self.beside + 1 :] = 0
        mask[:, :, -1, self.beside] = _middle(inputs, outputs, colours, parts, own=own)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = F.pad(under(self, x, self.above, rows), (self.beside, self.beside))
        weight = self._masked() if rows is None else rows.weight(self, self._masked)
        return F.conv2d(x, weight, self.bias)

    def _masked(self) -> Tensor:
        return self.weight * self.mask


def _middle(inputs: int, outputs: int, colours: int, parts: int, *, own: bool) -> Tensor:
    """Returns whether each output sees each input of its own pixel, [outputs, inputs]."""
    seen = colours_of(inputs, colours)
    seeing = colours_of(outputs // parts, colours).repeat(parts)[:, None]
    return (seen <= seeing if own else seen < seeing).float()


def colours_of(features: int, colours: int) -> Tensor:
    """Returns the colour of each feature, [features]: equal parts as far as that is possible, in order."""
    return torch.arange(features) * colours // features


class OfClass(nn.Module):
    """A bias for each class, [N, channels, 1, 1], and none without classes (van den Oord et al. 2016b, eq.
    4)."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.biases = nn.Embedding(classes, channels) if classes else None
        if self.biases is not None:
            nn.init.normal_(self.biases.weight, std=0.05)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if self.biases is None:
            return x
        assert labels is not None, "a model with classes is told them"
        told: Tensor = self.biases(labels)
        return x + told[:, :, None, None]
