"""The discriminator of patches (Isola et al. 2017, section 3.2.2 and appendix 6.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

import ops
from pipeline.models.layers.group_norm import GroupBatchNorm
from pipeline.models.layers.instance_norm import InstanceNorm

_WIDEST = 8  # channels of the last layers, as a multiple of those of the first


class PatchNetwork(nn.Module):
    """Judges images [N, C, H, W] in patches. Of its 4x4 convolutions, the first `layers` halve the
    resolution; all but the first and the last are normalised, so that a bias of theirs would have no effect.

    normalised: makes the layer that normalises so many channels. padding: pixels of zeros around what each
    convolution takes.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        normalised: Callable[[int], nn.Module],
        *,
        padding: int = 1,
    ) -> None:
        super().__init__()
        widths = [width * min(1 << i, _WIDEST) for i in range(layers + 1)]
        self.first = nn.Conv2d(channels, widths[0], 4, stride=2, padding=padding)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2 if i < layers - 1 else 1, padding=padding, bias=False)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(normalised(width) for width in widths[1:])
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=padding)
        self.apply(initialise)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width in logits that images of this size have."""
        for conv in (self.first, *self.convs, self.last):
            padding, stride = int(conv.padding[0]), int(conv.stride[0])
            height, width = ((side + 2 * padding - 4) // stride + 1 for side in (height, width))
        return height, width

    def features(self, images: Tensor) -> list[Tensor]:
        """Returns what each layer makes of images; the last are the logits [N, 1, H', W']."""
        x = ops.bias_act(self.first(ops.arranged(images)), act="lrelu", gain=1.0)
        made = [x]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), act="lrelu")
            made.append(x)
        return [*made, self.last(x)]


def least_side(layers: int) -> int:
    """Returns the least height and width of images of which such a discriminator has a logit, in pixels."""
    return 3 << layers


def initialise(module: nn.Module) -> None:
    """Draws weights from N(0, 0.02) and gains from N(1, 0.02), where the second number is the deviation
    (Isola et al. 2017, section 3.4 and the authors' code)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, GroupBatchNorm | InstanceNorm) and module.gain is not None:
        nn.init.normal_(module.gain, mean=1.0, std=0.02)
