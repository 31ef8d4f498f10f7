"""R3GAN's generator: a basis of 4x4 features, then residual blocks and upsampling (section 4, config E)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import ops
from pipeline.models.r3gan.layers import Basis, Block, Conv, Resample
from pipeline.models.r3gan.shape import Shape


class Generator(nn.Module):
    """Makes images from z and labels. basis: the features at 4 pixels. stages: one per resolution, each with
    upsampling first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config, classes = shape.config, shape.classes
        self.shape, self.z_dim, self.classes = shape, config.z_dim, classes
        self.embed = nn.Embedding(classes, config.label_dim) if classes else None
        if self.embed is not None:
            # The paper's code applies a linear layer to one-hot labels, whose fan-in is the number of
            # classes.
            nn.init.normal_(self.embed.weight, std=1 / math.sqrt(classes))
        inputs = config.z_dim + (config.label_dim if classes else 0)
        self.basis = Basis(inputs, config.widths[0], shape.start)
        self.stages = nn.ModuleList(self._stage(i) for i in range(shape.stages))
        self.to_image = Conv(config.widths[-1], shape.channels)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Tensor:
        """Makes images [N, C, H, W] float32, not clamped, from z [N, z_dim] and, if conditional, labels [N].

        exact: whether to compute in float32 throughout.
        """
        return self.decode(self.code(z, labels), exact=exact)

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Returns z followed by the embedding of the class: [N, inputs of the basis]."""
        return z if self.embed is None else torch.cat([z, self.embed(labels)], dim=1)

    def code_weight(self) -> Tensor:
        """Returns the weight of the basis, [widths[0], inputs]."""
        return self.basis.weight

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor:
        """Makes images as `forward` does, from codes that `code` returns or interpolations between them."""
        x = self.basis(code)
        for i, stage in enumerate(self.stages):
            x = stage(ops.arranged(x, self.shape.dtype(i, exact)))
        images: Tensor = self.to_image(x)
        return images.float()

    def _stage(self, index: int) -> nn.Sequential:
        config, width = self.shape.config, self.shape.config.widths[index]
        layers: list[nn.Module] = []
        if index > 0:
            layers.append(Resample(config.widths[index - 1], width, self.shape.taps, up=True))
        layers += [
            Block(width, width * config.expansion, config.cardinalities[index], self.shape.depth)
            for _ in range(config.blocks[index])
        ]
        return nn.Sequential(*layers)
