"""Convolutions with normalised weights, shifted so that they see no pixel that comes later."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.pixelcnn.rows import Rows, under

_START = 0.05  # standard deviation of weights before they are normalised


class WeightNormed(nn.Module):
    """A layer whose weights are `gain` times unit vectors (Salimans and Kingma 2016, eq. 2).

    initial_scale: the standard deviation of its outputs when `settle` has set gain and bias. shape: of the
    weight, whose dimension `out` is that of the outputs.
    """

    def __init__(self, shape: tuple[int, ...], out: int = 0, initial_scale: float = 1.0) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(shape) * _START)
        self.gain = nn.Parameter(torch.ones(shape[out]))
        self.bias = nn.Parameter(torch.zeros(shape[out]))
        self.initial_scale, self._out = initial_scale, out

    def weight(self, rows: Rows | None) -> Tensor:
        """Returns the normalised weight; for images that are shown row by row it is computed once."""
        return self._normalised() if rows is None else rows.weight(self, self._normalised)

    def _normalised(self) -> Tensor:
        others = [dim for dim in range(4) if dim != self._out]
        sizes = [1] * 4
        sizes[self._out] = -1
        lengths = self.direction.square().sum(dim=others, keepdim=True)
        return self.gain.view(sizes) * self.direction * lengths.rsqrt()


class ShiftedConv2d(WeightNormed):
    """A convolution of kernel (rows, columns) whose last row is that of its output; it sees `right` columns
    to the right (Salimans et al. 2017, section 2.5). stride: of 2, it halves even sides."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        right: int = 0,
        stride: int = 1,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__((outputs, inputs, *kernel), initial_scale=initial_scale)
        self.above, self.beside = kernel[0] - 1, (kernel[1] - 1 - right, right)
        self.stride = stride

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        x = F.pad(under(self, x, self.above, rows), self.beside)
        return F.conv2d(x, self.weight(rows), self.bias, stride=self.stride)


class ShiftedDoubling(WeightNormed):
    """The transpose of a `ShiftedConv2d` of two rows and stride 2: it doubles both sides."""

    def __init__(self, channels: int, columns: int, *, right: int = 0) -> None:
        super().__init__((channels, channels, 2, columns), out=1)
        self.right = right

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        doubled = F.conv_transpose2d(x, self.weight(rows), self.bias, stride=2)
        return doubled[..., self.right : self.right + 2 * x.shape[3]]


class Down(nn.Module):
    """Moves rows down by one: each output is the input above it."""

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        return under(self, x, 1, rows)[:, :, :-1]


def right(x: Tensor) -> Tensor:
    """Moves columns to the right by one: each output is the input to its left."""
    return F.pad(x, (1, -1))


@torch.no_grad()
def settle(network: nn.Module, images: Tensor, labels: Tensor | None) -> None:
    """Sets gain and bias of every `WeightNormed` so that over these images its outputs have mean 0 and the
    standard deviation `initial_scale` (Salimans and Kingma 2016, eq. 5 and 6)."""
    layers = [layer for layer in network.modules() if isinstance(layer, WeightNormed)]
    hooks = [layer.register_forward_hook(_settled) for layer in layers]
    network(images, labels)
    for hook in hooks:
        hook.remove()


def _settled(layer: WeightNormed, _: object, output: Tensor) -> Tensor:
    mean = output.mean(dim=(0, 2, 3))
    scale = layer.initial_scale * (output.var(dim=(0, 2, 3), correction=0) + 1e-10).rsqrt()
    layer.gain.mul_(scale)
    layer.bias.sub_(mean).mul_(scale)
    return (output - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
