"""GAT's generator: a mapping network, and a transformer that puts out an image at several depths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.models.gat.layers import SLOW, Attention, GatedMLP, Linear, scaled
from pipeline.models.gat.positions import position_table, rotations
from pipeline.models.gat.shape import Shape
from pipeline.models.layers import Compilable, Recomputable

_GAIN = 0.1  # of the initial weights of everything that w modulates


class Mapping(nn.Module):
    """w = f(z, label). The label's embedding and z are normalised to unit mean square, each by itself."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inputs, width = shape.config.z_dim, shape.config.width
        self.embed = nn.Embedding(shape.classes, inputs) if shape.classes else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, std=0.02)
            inputs *= 2
        self.first = Linear(inputs, width, rate=SLOW)
        self.second = Linear(width, width, rate=SLOW)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns w [N, width] from z [N, z_dim] and, if conditional, labels [N]."""
        x = ops.pixel_norm(z)
        if self.embed is not None:
            x = torch.cat([ops.pixel_norm(self.embed(labels)), x], dim=1)
        w: Tensor = self.second(F.silu(self.first(x)))
        return w


class Block(Recomputable):
    """A transformer block whose branches w scales before and after; there is no shift."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.generator
        rows, columns = shape.grid
        self.shape = shape
        self.modulation = Linear(size.width, 4 * size.width, gain=_GAIN)
        self.attention = Attention(size.width, size.heads, (rows * columns,))
        self.mlp = GatedMLP(size.width)

    def compute(self, x: Tensor, w: Tensor, turns: Tensor, *, exact: bool = False) -> Tensor:
        modulation: Tensor = self.modulation(F.silu(w))
        scale, gate, mlp_scale, mlp_gate = modulation.chunk(4, dim=1)
        attended: Tensor = self.attention(self.shape.lowered(scaled(x, scale), exact), turns, exact=exact)
        x = x + gate[:, None] * attended
        added: Tensor = self.mlp(self.shape.lowered(scaled(x, mlp_scale), exact))
        return x + mlp_gate[:, None] * added


class Head(nn.Module):
    """Turns tokens into what a level adds to the image, in float32."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, width = shape, shape.config.width
        self.modulation = Linear(width, width, gain=_GAIN)
        self.out = Linear(width, shape.config.patch**2 * shape.channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Returns [N, C, H, W]; a token's outputs are its patch's pixels row by row, channels fastest."""
        patch = self.shape.config.patch
        pixels = self.out(scaled(x, self.modulation(F.silu(w))))
        pixels = pixels.unflatten(2, (patch, patch, -1)).unflatten(1, self.shape.grid)
        image: Tensor = pixels.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
        return image


class Synthesis(Compilable):
    """Makes the image of each level from w. The tokens begin as their positions; the image of a level is that
    of the previous one plus what its own head adds."""

    positions: Tensor
    turns: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, size = shape, shape.generator
        self.every = size.depth // shape.config.levels
        self.blocks = nn.ModuleList(Block(shape) for _ in range(size.depth))
        self.heads = nn.ModuleList(Head(shape) for _ in range(shape.config.levels))
        self.register_buffer("positions", position_table(*shape.grid, size.width), persistent=False)
        self.register_buffer("turns", rotations(*shape.grid, size.width // size.heads), persistent=False)

    @property
    def modulations(self) -> list[Linear]:
        """The layers that take SiLU(w)."""
        parts = [part for part in self.modules() if isinstance(part, Block | Head)]
        return [part.modulation for part in parts]

    def compute(self, w: Tensor, *, exact: bool = False) -> tuple[Tensor, ...]:
        """Returns the levels, [N, C, H, W] float32 each, not clamped, from w [N, width].

        exact: whether to compute in float32 throughout, so that second derivatives can be taken.
        """
        x, image, levels = self.positions.expand(len(w), -1, -1), None, []
        for i, block in enumerate(self.blocks):
            x = block(x, w, self.turns, exact=exact)
            if (i + 1) % self.every == 0:
                added = self.heads[i // self.every](x, w)
                image = added if image is None else image + added
                levels.append(image)
        return tuple(levels)


class Generator(nn.Module):
    """Makes the levels of images from z and labels."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.z_dim, self.classes = shape.config.z_dim, shape.classes
        self.mapping = Mapping(shape)
        self.synthesis = Synthesis(shape)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> tuple[Tensor, ...]:
        """Returns the levels, [N, C, H, W] float32 each, not clamped; the last one is the image."""
        levels: tuple[Tensor, ...] = self.synthesis(self.mapping(z, labels), exact=exact)
        return levels
