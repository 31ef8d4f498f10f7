"""What data and config determine about the networks of GAT: tokens, levels, widths, precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config.families import GATConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError


@dataclass(frozen=True)
class Size:
    """The size of one network. width: the features of a token. depth: the number of blocks. heads: the number
    of attention heads."""

    width: int
    depth: int
    heads: int


@dataclass(frozen=True)
class Shape:
    """What data and config determine about the networks.

    height, width: those of the images, or of the codec's latents. channels: theirs. classes: 0 if unlabelled.
    low_precision: the type of the blocks in passes that are not exact; None for float32.
    """

    config: GATConfig
    height: int
    width: int
    channels: int
    classes: int
    low_precision: torch.dtype | None = None

    @property
    def generator(self) -> Size:
        return Size(self.config.width, self.config.depth, self.config.heads)

    @property
    def discriminator(self) -> Size:
        config, own = self.config, self.generator
        return Size(
            config.discriminator_width or own.width,
            config.discriminator_depth or own.depth,
            config.discriminator_heads or own.heads,
        )

    @property
    def scales(self) -> tuple[int, ...]:
        """How many times smaller than the images each level is."""
        return self.config.scales or (1,) * self.config.levels

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The channels, height and width of each level."""
        return tuple((self.channels, self.height // scale, self.width // scale) for scale in self.scales)

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of tokens of the images."""
        return self.height // self.config.patch, self.width // self.config.patch

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """The rows and columns of each sequence of tokens that the discriminator sees: one of all levels
        together or, if they differ in size, one of each."""
        if self.config.scales is None:
            return (self.grid,)
        rows, columns = self.grid
        return tuple((rows // scale, columns // scale) for scale in self.scales)

    def lowered(self, x: Tensor, exact: bool) -> Tensor:
        """Returns x in the type in which blocks compute."""
        return x if exact or self.low_precision is None else x.to(self.low_precision)


def shape_of(config: GATConfig, spec: ImageSpec, low_precision: torch.dtype | None) -> Shape:
    """Returns the networks' shape. Raises UserError unless patches divide the images at every level."""
    whole = config.patch * max(config.scales or (1,))
    if spec.height % whole or spec.width % whole:
        why = "patches" if config.scales is None else "patches of the coarsest level"
        raise UserError(
            f"family.patch: the {spec.height}x{spec.width} (height x width) that gat makes is not cut into "
            f"{why} of {whole}; allowed: a side that divides both"
        )
    return Shape(config, spec.height, spec.width, spec.channels, spec.classes, low_precision)
