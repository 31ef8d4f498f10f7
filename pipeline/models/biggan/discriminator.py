"""BigGAN's and BigGAN-deep's discriminator (Brock et al. 2019, appendix B)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.contracts import Verdict
from pipeline.models.biggan.blocks import Attention, DeepDiscriminatorBlock, DiscriminatorBlock
from pipeline.models.biggan.shape import Shape
from pipeline.models.layers import SpectralConv2d, SpectralEmbedding, SpectralLinear
from pipeline.models.phases import has_classifier


class Discriminator(nn.Module):
    """Judges images and labels. attention: its layers, by the number of the block before each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config, blocks = shape.config, shape.discriminator
        eps, width = config.spectral_eps, blocks[-1].outputs
        self.low_precision = shape.low_precision
        self.stem = SpectralConv2d(shape.channels, blocks[0].inputs, 3, eps=eps) if shape.deep else None
        self.blocks = nn.ModuleList(
            DeepDiscriminatorBlock(shape, block) if shape.deep else DiscriminatorBlock(shape, block, i == 0)
            for i, block in enumerate(blocks)
        )
        self.attention = nn.ModuleDict(
            {str(i): Attention(block.outputs, eps) for i, block in enumerate(blocks) if block.attends}
        )
        self.linear = SpectralLinear(width, 1, eps=eps)
        classifies = has_classifier(config, shape.classes)
        projects = shape.classes and not classifies
        self.embed = SpectralEmbedding(shape.classes, width, eps=eps) if projects else None
        self.classifier = SpectralLinear(width, shape.classes, eps=eps) if classifies else None

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        """Judges images [N, C, H, W] in about [-1, 1] with labels [N], if the network is conditional.

        exact: whether to compute in float32 throughout.
        """
        full = self.linear.weight.dtype
        x = ops.arranged(images, full if exact or self.low_precision is None else self.low_precision)
        x = x if self.stem is None else self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.attention:
                x = self.attention[str(i)](x, exact=exact)
        h = F.relu(x.to(full)).sum(dim=[2, 3])
        logits: Tensor = self.linear(h).squeeze(1)
        if self.embed is not None:
            # Projection (Miyato and Koyama 2018, eq. 3).
            logits = logits + (self.embed(labels) * h).sum(dim=1)
        return Verdict(logits, None if self.classifier is None else self.classifier(h))
