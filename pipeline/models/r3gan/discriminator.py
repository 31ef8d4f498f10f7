"""R3GAN's discriminator, the mirror image of its generator (section 4, config E)."""

from __future__ import annotations

import math

from torch import Tensor, nn

import ops
from pipeline.contracts import Verdict
from pipeline.models.phases import has_classifier
from pipeline.models.r3gan.layers import Block, Conv, Projections, Resample
from pipeline.models.r3gan.shape import Shape


class Discriminator(nn.Module):
    """Judges images and labels. stages: from the resolution of the image down, each with downsampling last.

    With projection the logit is the inner product of the features and the label's embedding and has no
    unconditional part. There is no last bias, because a relativistic loss does not depend on it.
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
        self.head = Projections(config.widths[0], outputs, shape.start)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        """Judges images [N, C, H, W] in about [-1, 1] with labels [N], if the network is conditional.

        exact: whether to compute in float32 throughout.
        """
        last = self.shape.stages - 1
        x = self.from_image(ops.arranged(images, self.shape.dtype(last, exact)))
        for i, stage in zip(range(last, -1, -1), self.stages, strict=True):
            x = stage(ops.arranged(x, self.shape.dtype(i, exact)))
        outputs: Tensor = self.head(x.float())
        if self.embed is not None:
            return Verdict((outputs * self.embed(labels)).sum(dim=1))
        return Verdict(outputs[:, 0], outputs[:, 1:] if self.classifies else None)

    def _stage(self, index: int) -> nn.Sequential:
        config, width = self.shape.config, self.shape.config.widths[index]
        layers: list[nn.Module] = [
            Block(width, width * config.expansion, config.cardinalities[index], self.shape.depth)
            for _ in range(config.blocks[index])
        ]
        if index > 0:
            layers.append(Resample(width, config.widths[index - 1], self.shape.taps, up=False))
        return nn.Sequential(*layers)
