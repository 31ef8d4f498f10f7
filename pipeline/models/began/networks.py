"""BEGAN's networks: a decoder that generates, and an autoencoder that judges (figure 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.contracts import Scalar, Verdict
from pipeline.models.layers import Compilable, Recomputable
from pipeline.models.sides import Sides


@dataclass(frozen=True, slots=True)
class Shape:
    """What determines the layers of both networks.

    sides: those of images, and those where decoders begin and the encoder ends. image_channels: those of
    images. channels: n, those of every resolution of a decoder. layers: convolutions of each resolution.
    skips: whether each resolution of a decoder is shown the tensor that it began with. z_dim, embedding_dim:
    the sizes of z and of h.
    """

    sides: Sides
    image_channels: int
    channels: int
    layers: int
    skips: bool
    z_dim: int
    embedding_dim: int


def conv3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """Returns a 3x3 convolution that keeps the size of the image, or halves it with a stride of 2."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Convolutions(nn.ModuleList):
    """3x3 convolutions, each followed by an ELU: [N, inputs, H, W] -> [N, outputs, H, W]."""

    def __init__(self, inputs: int, outputs: int, layers: int) -> None:
        super().__init__(conv3(inputs if i == 0 else outputs, outputs) for i in range(layers))

    def forward(self, x: Tensor, carry: Scalar | None) -> Tensor:
        """carry: the weight of the input of each convolution that keeps the number of channels, beside 1 -
        carry of its output (section 3.5.1); None for 0."""
        for conv in self:
            y = F.elu(conv(x))
            x = y if carry is None or x.shape != y.shape else y + carry * (x - y)
        return x


class Up(Recomputable):
    """One resolution of a decoder, twice as large as the one before."""

    def __init__(self, channels: int, layers: int, *, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        self.convs = Convolutions(channels * (2 if skips else 1), channels, layers)

    def compute(self, x: Tensor, begun: Tensor, carry: Scalar | None) -> Tensor:
        """x: [N, n, H, W]. begun: what the decoder began with, [N, n, h, w]. Returns [N, n, 2H, 2W]."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        if self.skips:
            x = torch.cat([x, F.interpolate(begun, size=x.shape[2:], mode="nearest")], dim=1)
        y: Tensor = self.convs(x, carry)
        return y


class Down(Recomputable):
    """One resolution of the encoder, which is then halved by a convolution with a stride of 2."""

    def __init__(self, inputs: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.convs = Convolutions(inputs, inputs, layers)
        self.halve = conv3(inputs, outputs, stride=2)

    def compute(self, x: Tensor, carry: Scalar | None) -> Tensor:
        return F.elu(self.halve(self.convs(x, carry)))


class Decoder(Compilable):
    """Makes images [N, C, H, W], which are not bounded, from vectors [N, inputs]."""

    def __init__(self, shape: Shape, inputs: int) -> None:
        super().__init__()
        channels, layers = shape.channels, shape.layers
        self.start = shape.sides.start
        self.project = nn.Linear(inputs, channels * math.prod(self.start))
        self.first = Convolutions(channels, channels, layers)
        self.levels = nn.ModuleList(
            Up(channels, layers, skips=shape.skips) for _ in range(shape.sides.doublings)
        )
        self.last = conv3(channels, shape.image_channels)

    def compute(self, code: Tensor, carry: Scalar | None = None, *, exact: bool = False) -> Tensor:
        begun = self.project(code)
        begun = ops.arranged(begun.view(len(begun), -1, *self.start), begun.dtype)
        x = self.first(begun, carry)
        for level in self.levels:
            x = level(x, begun, carry)
        images: Tensor = self.last(x)
        return images


class Encoder(Compilable):
    """Makes embeddings h [N, embedding_dim] of images [N, C, H, W]. Its channels are n next to the image, and
    n more after each halving."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels, doublings = shape.channels, shape.sides.doublings
        self.first = conv3(shape.image_channels, channels)
        self.levels = nn.ModuleList(
            Down(channels * (i + 1), channels * (i + 2), shape.layers) for i in range(doublings)
        )
        deepest = channels * (doublings + 1)
        self.last = Convolutions(deepest, deepest, shape.layers)
        self.embed = nn.Linear(deepest * math.prod(shape.sides.start), shape.embedding_dim)

    def compute(self, images: Tensor, carry: Scalar | None = None, *, exact: bool = False) -> Tensor:
        x = F.elu(self.first(ops.arranged(images, images.dtype)))
        for level in self.levels:
            x = level(x, carry)
        h: Tensor = self.embed(self.last(x, carry).flatten(1))
        return h


class Generator(nn.Module):
    """Makes images [N, C, H, W] from z [N, z_dim]. Labels are ignored.

    carry: the weight of inputs beside outputs (`Convolutions`); None for 0. measure: of
    convergence (`Equilibrium`), at a snapshot.
    """

    classes = 0
    measure: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.z_dim = shape.z_dim
        self.decoder = Decoder(shape, shape.z_dim)
        self.register_buffer("measure", torch.zeros([]))
        self.apply(initialise)

    def forward(
        self, z: Tensor, labels: Tensor | None = None, *, carry: Scalar | None = None, exact: bool = False
    ) -> Tensor:
        return self.decode(self.code(z, labels), carry=carry, exact=exact)

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return z

    def code_weight(self) -> Tensor:
        return self.decoder.project.weight

    def decode(self, code: Tensor, *, carry: Scalar | None = None, exact: bool = False) -> Tensor:
        images: Tensor = self.decoder(code, carry, exact=exact)
        return images


class Discriminator(nn.Module):
    """Judges images [N, C, H, W] by how well it reconstructs them: the logit is -L (eq. 1)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(shape), Decoder(shape, shape.embedding_dim)
        self.apply(initialise)

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        carry: Scalar | None = None,
        exact: bool = False,
    ) -> Verdict:
        return Verdict(-reconstruction_error(images, self.reconstruct(images, carry=carry, exact=exact)))

    def reconstruct(self, images: Tensor, *, carry: Scalar | None = None, exact: bool = False) -> Tensor:
        again: Tensor = self.decoder(self.encoder(images, carry, exact=exact), carry, exact=exact)
        return again


def reconstruction_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """L(v) = |v - D(v)|, the mean over the numbers of an image, [N] (eq. 1 with eta = 1)."""
    return (images - reconstructions).abs().flatten(1).mean(dim=1)


def initialise(module: nn.Module) -> None:
    """Draws weights uniformly with the variance 2 / (inputs + outputs) (Glorot and Bengio 2010, eq. 16), as
    public ports do; biases are 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
