"""The sizes of blocks, channels and latents for a config and images (Brock et al. 2019, appendix B)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError

LOWEST = 4

# Channels as multiples of ch: of the generator's 4px input, then of each block that doubles the resolution.
# 64px and more: tables 4 to 9; 64 and 32px: the authors' public code; below 32px: in the pattern of 32px.
GENERATOR: dict[int, tuple[int, ...]] = {
    8: (4, 4),
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# Channels as multiples of ch of each block of the discriminator; for BigGAN-deep, of its first convolution
# and then of the blocks. The first blocks halve the resolution down to 4px (8px for images of 32px); the
# others keep it.
DISCRIMINATOR: dict[int, tuple[int, ...]] = {
    8: (4, 4, 4),
    16: (4, 4, 4, 4),
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}


@dataclass(frozen=True)
class Block:
    """One residual block.

    inputs, outputs: channels. resolution: that of its output, in pixels. resamples: whether it doubles
    (generator) or halves (discriminator) the resolution. attends: whether self-attention follows it.
    """

    inputs: int
    outputs: int
    resolution: int
    resamples: bool
    attends: bool


@dataclass(frozen=True)
class Shape:
    """What config and data determine about the networks.

    resolution: the side of the images in pixels. channels: those of the images. classes: 0 if unlabelled.
    low_precision: the type of the blocks' activations in passes that are not exact; None for float32.
    """

    config: BigGANConfig
    resolution: int
    channels: int
    classes: int
    low_precision: torch.dtype | None = None

    @property
    def deep(self) -> bool:
        return self.config.variant == "deep"

    @property
    def generator(self) -> list[Block]:
        """The generator's blocks from 4px up; in BigGAN-deep the last block of each resolution doubles it."""
        widths = [self.config.generator_channels * m for m in GENERATOR[self.resolution]]
        blocks, resolution = [], LOWEST
        for inputs, outputs in pairwise(widths):
            more = self.config.depth - 1 if self.deep else 0
            blocks += [Block(inputs, inputs, resolution, False, False)] * more
            resolution *= 2
            attends = resolution in self.config.generator_attention
            blocks.append(Block(inputs, outputs, resolution, True, attends))
        return blocks

    @property
    def discriminator(self) -> list[Block]:
        """The discriminator's blocks, down to 4px (8px for images of 32px); in BigGAN-deep the first block of
        each resolution halves it."""
        widths = [self.config.discriminator_channels * m for m in DISCRIMINATOR[self.resolution]]
        widths = widths if self.deep else [self.channels, *widths]
        blocks, resolution = [], self.resolution
        lowest = LOWEST if self.resolution != 32 else 2 * LOWEST
        for inputs, outputs in pairwise(widths):
            halves = resolution > lowest
            resolution = resolution // 2 if halves else resolution
            depth = self.config.depth if self.deep else 1
            for i in range(depth):
                attends = i == depth - 1 and resolution in self.config.discriminator_attention
                blocks.append(
                    Block(inputs if i == 0 else outputs, outputs, resolution, halves and i == 0, attends)
                )
        return blocks

    @property
    def chunk(self) -> int:
        """The number of components of z that each block sees."""
        if not self.config.hierarchical:
            return 0
        return self.config.z_dim if self.deep else self.config.z_dim // (len(self.generator) + 1)

    @property
    def embedding(self) -> int:
        """The size of the shared class embedding; 0 without classes."""
        return self.config.shared_dim if self.classes else 0

    @property
    def condition(self) -> int:
        """The size of each block's condition, which is the class embedding and the block's part of z."""
        return self.embedding + self.chunk

    @property
    def first(self) -> int:
        """The input size of the first linear layer: that of z, of its first chunk or, in BigGAN-deep, of z
        with the embedding."""
        if not self.config.hierarchical:
            return self.config.z_dim
        return self.condition if self.deep else self.chunk


def shape_of(config: BigGANConfig, spec: ImageSpec, low_precision: torch.dtype | None) -> Shape:
    """Returns the shape of the networks. Raises UserError for images that this family cannot make, or for
    sizes that do not fit them."""
    if spec.height != spec.width or spec.height not in GENERATOR:
        raise UserError(
            f"biggan needs square images of {', '.join(map(str, GENERATOR))} pixels, "
            f"not {spec.width}x{spec.height}; prepare the data with --resolution"
        )
    if config.in_pixels and spec.channels not in (1, 3):
        raise UserError(f"biggan needs images of 1 or 3 channels, not {spec.channels}")
    shape = Shape(config, spec.height, spec.channels, spec.classes, low_precision)
    slots = len(shape.generator) + 1
    if config.hierarchical and not shape.deep and config.z_dim % slots:
        raise UserError(
            f"family.z_dim: {config.z_dim} cannot be split into {slots} equal chunks, one a block and one "
            f"for the first layer; allowed: multiples of {slots}, or family.hierarchical=false"
        )
    for net, blocks in (("generator", shape.generator), ("discriminator", shape.discriminator)):
        wide = all(b.outputs >= 8 for b in blocks if b.attends)
        if not wide or (shape.deep and min(b.outputs for b in blocks) < 4):
            raise UserError(
                f"family.{net}_channels: leaves too few channels; blocks before attention need 8, "
                "those of deep 4"
            )
    return shape
