"""The discriminator of patches, with batch statistics in groups."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from pipeline.contracts import Verdict
from pipeline.models.layers import GroupBatchNorm, PatchNetwork


class PatchDiscriminator(PatchNetwork):
    """Judges images [N, C, H, W]: L logits, each of a part of the image. `group` images share statistics."""

    def __init__(self, image_channels: int, channels: int, layers: int, group: int) -> None:
        super().__init__(image_channels, channels, layers, partial(GroupBatchNorm, group=group))

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        return Verdict(self.features(images)[-1].float().flatten(1))
