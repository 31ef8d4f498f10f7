"""BigGAN's and BigGAN-deep's generator (Brock et al. 2019, appendix B)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ops
from pipeline.models.biggan.blocks import Attention, DeepGeneratorBlock, GeneratorBlock
from pipeline.models.biggan.shape import LOWEST, Shape
from pipeline.models.layers import BatchNorm, SpectralConv2d, SpectralLinear


class Generator(nn.Module):
    """Makes images from latents and labels. attention: its layers, by the number of the block before each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config, blocks = shape.config, shape.generator
        eps = config.spectral_eps
        self.z_dim, self.classes, self.deep, self.chunk = config.z_dim, shape.classes, shape.deep, shape.chunk
        self.low_precision, self.bounded = shape.low_precision, config.in_pixels
        # Without spectral normalisation, as in the paper and in the public code.
        self.shared = nn.Embedding(shape.classes, shape.embedding) if shape.classes else None
        self.linear = SpectralLinear(shape.first, blocks[0].inputs * LOWEST * LOWEST, eps=eps)
        kind = DeepGeneratorBlock if shape.deep else GeneratorBlock
        self.blocks = nn.ModuleList(kind(shape, block) for block in blocks)
        self.attention = nn.ModuleDict(
            {str(i): Attention(block.outputs, eps) for i, block in enumerate(blocks) if block.attends}
        )
        self.norm = BatchNorm(blocks[-1].outputs, eps=config.norm_eps)
        self.conv = SpectralConv2d(blocks[-1].outputs, shape.channels, 3, eps=eps)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Tensor:
        """Makes images [N, C, H, W] float32 in [-1, 1], or latents without bounds, from z [N, z_dim] and, if
        conditional, labels [N].

        exact: whether to compute in float32 throughout.
        """
        return self.decode(self.code(z, labels), exact=exact)

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the embedding of the class, if there are classes, followed by z: [N, dim]."""
        return z if self.shared is None else torch.cat([self.shared(labels), z], dim=1)

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor:
        """Makes images as `forward` does, from codes that `code` returns or interpolations between them."""
        first, conditions = self.inputs(code)
        x = self.linear(first).view(len(code), -1, LOWEST, LOWEST)
        full = x.dtype
        x = ops.arranged(x, full if exact or self.low_precision is None else self.low_precision)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            x = block(x, condition)
            if str(i) in self.attention:
                x = self.attention[str(i)](x, exact=exact)
        images: Tensor = self.conv(self.norm(ops.arranged(x, full), act="relu"))
        return torch.tanh(images) if self.bounded else images

    def inputs(self, code: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Returns the input of the first layer and the condition of each block, which is the embedding of the
        class followed by the block's part of z. Both are linear in the code."""
        known, z = code[:, : -self.z_dim], code[:, -self.z_dim :]
        count = len(self.blocks)
        if not self.chunk:
            return z, [known if self.shared is not None else None] * count
        if self.deep:
            return code, [code] * count
        first, *chunks = torch.split(z, self.chunk, dim=1)
        return first, [torch.cat([known, chunk], dim=1) for chunk in chunks]
