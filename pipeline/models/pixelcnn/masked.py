"""PixelCNN and the Row LSTM of van den Oord et al. 2016a, "Pixel Recurrent Neural Networks"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.layers import Recomputable
from pipeline.models.pixelcnn.dropout import Dropout
from pipeline.models.pixelcnn.likelihoods import Softmax
from pipeline.models.pixelcnn.masks import MaskedConv2d, OfClass
from pipeline.models.pixelcnn.rows import Rows

_FIRST, _KERNEL = 7, 3  # sides of the first convolution and of all others (table 1)


class MaskedNetwork(nn.Module):
    """Tells the probabilities of each number of images from those before it, by layers between a convolution
    with mask A and two of 1x1 (van den Oord et al. 2016a, table 1).

    colours: the channels of images. channels: h, half the features between layers. head_channels: features
    between the last two layers. layer: makes one of the `blocks` layers from h, colours and classes.
    """

    def __init__(
        self,
        colours: int,
        channels: int,
        blocks: int,
        head_channels: int,
        classes: int,
        layer: Callable[[int, int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.classes, self.likelihood = classes, Softmax(colours)
        self.first = MaskedConv2d(colours, 2 * channels, _FIRST, colours, own=False)
        self.layers = nn.ModuleList(layer(channels, colours, classes) for _ in range(blocks))
        self.head = MaskedConv2d(2 * channels, head_channels, 1, colours)
        self.last = MaskedConv2d(head_channels, self.likelihood.parameters, 1, colours)

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
        memory of the rows above, of images that are shown row by row. There is no dropout."""
        x = self.first(images, rows)
        for layer in self.layers:
            x = layer(x, labels, rows)
        parameters: Tensor = self.last(F.relu(self.head(F.relu(x), rows)), rows)
        return parameters

    def activations(self, height: int, width: int) -> int:
        """Returns how many numbers of an image dropout may remove."""
        return 0


class MaskedBlock(Recomputable):
    """A residual block of 2h features (van den Oord et al. 2016a, figure 5): 1x1 to h, 3x3, 1x1 back."""

    def __init__(self, channels: int, colours: int, classes: int) -> None:
        super().__init__()
        self.narrow = MaskedConv2d(2 * channels, channels, 1, colours)
        self.middle = MaskedConv2d(channels, channels, _KERNEL, colours)
        self.label = OfClass(classes, channels)
        self.widen = MaskedConv2d(channels, 2 * channels, 1, colours)

    def compute(self, x: Tensor, labels: Tensor | None, rows: Rows | None) -> Tensor:
        inner = F.relu(self.narrow(F.relu(x), rows))
        inner = F.relu(self.label(self.middle(inner, rows), labels))
        result: Tensor = x + self.widen(inner, rows)
        return result


class RowLayer(Recomputable):
    """A Row LSTM with a residual connection (van den Oord et al. 2016a, section 3.1, eq. 3).

    Each row's states come from the row itself, by a masked convolution over three columns, and from those of
    the row above.
    """

    def __init__(self, channels: int, colours: int, classes: int) -> None:
        super().__init__()
        self.inputs = MaskedConv2d(2 * channels, 4 * channels, _KERNEL, colours, rows=1, parts=4)
        self.label = OfClass(classes, 4 * channels)
        self.states = nn.Conv1d(channels, 4 * channels, _KERNEL, padding=_KERNEL // 2, bias=False)
        self.widen = MaskedConv2d(channels, 2 * channels, 1, colours)

    def compute(self, x: Tensor, labels: Tensor | None, rows: Rows | None) -> Tensor:
        gates = self.label(self.inputs(x, rows), labels)
        before = None if rows is None else rows.last(self)
        if before is None:
            before = gates.new_zeros(2, len(x), gates.shape[1] // 4, x.shape[3])
        hidden, cell = before.unbind()
        found = []
        for row in gates.unbind(dim=2):
            out, forget, take, content = (row + self.states(hidden)).chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(take) * torch.tanh(content)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
            found.append(hidden)
        if rows is not None:
            rows.keep(self, torch.stack([hidden, cell]))
        result: Tensor = x + self.widen(torch.stack(found, dim=2), rows)
        return result


LAYERS: dict[str, Callable[[int, int, int], Any]] = {"masked": MaskedBlock, "row_lstm": RowLayer}
"""The layers of each network of this kind."""
