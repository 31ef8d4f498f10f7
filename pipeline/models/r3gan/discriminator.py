"""R3GAN's discriminator: the generator's mirror image (section 4, config E)."""

from __future__ import annotations

import math

from torch import Tensor, nn

import ops
from pipeline.contracts import Verdict
from pipeline.models.phases import has_classifier
from pipeline.models.r3gan.layers import Block, Conv, Projections, Resample
from pipeline.models.r3gan.shape import LOWEST, Shape


class Discriminator(nn.Module):
    """Images and labels to a verdict. stages: from the image's resolution down, downsampling last.

    With labels by projection the logit is the product of features and the label's embedding, and nothing
    else: no part of it judges without the label. There is no last bias, which a relativistic loss would
    not see.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config, classes = shape.config, shape.classes
        self.shape = shape
        self.from_image = Conv(shape.channels, config.widths[-1])
        self.stages = nn.ModuleList(self._stage(i) for i in reversed(range(shape.stages)))
        self.classifies = has_classifier(config, classes)
        features = shape.label_features
        self.embed = nn.Embedding(classes, features) if classes and not self.classifies else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight, std=1 / math.sqrt(classes * features))
        outputs = features if self.embed is not None else 1 + (classes if self.classifies else 0)
        self.head = Projections(config.widths[0], outputs, LOWEST)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        """images: [N, C, H, W] in about [-1, 1], labels: [N] if conditional. exact: float32 throughout."""
        last = self.shape.stages - 1
        x = self.from_image(ops.arranged(images, self.shape.dtype(last, exact)))
        for i, stage in zip(range(last, -1, -1), self.stages, strict=True):
            x = stage(ops.arranged(x, self.shape.dtype(i, exact)))
        found: Tensor = self.head(x.float())
        if self.embed is not None:
            return Verdict((found * self.embed(labels)).sum(dim=1))
        return Verdict(found[:, 0], found[:, 1:] if self.classifies else None)

    def _stage(self, index: int) -> nn.Sequential:
        config, width = self.shape.config, self.shape.config.widths[index]
        layers: list[nn.Module] = [
            Block(width, width * config.expansion, config.cardinalities[index], self.shape.depth)
            for _ in range(config.blocks[index])
        ]
        if index > 0:
            layers.append(Resample(width, config.widths[index - 1], self.shape.taps, up=False))
        return nn.Sequential(*layers)
