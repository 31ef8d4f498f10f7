"""The discriminator of patches (Isola et al. 2017, section 3.2.2 and appendix 6.1.2)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

import ops
from pipeline.contracts import Verdict
from pipeline.models.layers import GroupBatchNorm

_WIDEST = 8  # channels of the last layers, as a multiple of those of the first


class PatchDiscriminator(nn.Module):
    """Judges images [N, C, H, W]: L logits, each of a part of the image. Of its 4x4 convolutions, the first
    `layers` halve the resolution; all but the first and the last have batch statistics in groups."""

    def __init__(self, image_channels: int, channels: int, layers: int, group: int) -> None:
        super().__init__()
        widths = [channels * min(1 << i, _WIDEST) for i in range(layers + 1)]
        self.first = nn.Conv2d(image_channels, widths[0], 4, stride=2, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2 if i < layers - 1 else 1, padding=1, bias=False)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(GroupBatchNorm(width, group) for width in widths[1:])
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.apply(_initialise)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        x = ops.bias_act(self.first(ops.arranged(images)), act="lrelu", gain=1.0)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), act="lrelu")
        return Verdict(self.last(x).float().flatten(1))


def least_side(layers: int) -> int:
    """Returns the least height and width of images of which such a discriminator has a logit, in pixels."""
    return 3 << layers


def _initialise(module: nn.Module) -> None:
    """Draws weights from N(0, 0.02), gains from N(1, 0.02), where the second number is the deviation."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, GroupBatchNorm) and module.gain is not None:
        nn.init.normal_(module.gain, mean=1.0, std=0.02)
