"""Images that go on beyond their border as in a mirror."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from pipeline.models.augment.adjoint import linear_map


def reflect_pad(images: Tensor, x: int, y: int) -> Tensor:
    """`x` columns on the left and right, `y` rows above and below: [N, C, H + 2y, W + 2x].

    The mirrors stand on the border pixels' centres, which are not repeated. Any width: small images are
    mirrored in mirrors. Its derivative adds in a fixed order, where torch's own on CUDA has none.
    """
    while x > 0 or y > 0:
        # torch mirrors once, which reaches as far as the image is wide.
        step_x, step_y = min(x, images.shape[3] - 1), min(y, images.shape[2] - 1)
        forth, back = partial(_mirrored, x=step_x, y=step_y), partial(_folded, x=step_x, y=step_y)
        images = linear_map(images, forth, back)
        x, y = x - step_x, y - step_y
    return images


def _mirrored(images: Tensor, x: int, y: int) -> Tensor:
    return F.pad(images, (x, x, y, y), mode="reflect")


def _folded(padded: Tensor, x: int, y: int) -> Tensor:
    """The adjoint: what lies beyond the border is added where its mirror image is."""
    for dim, pad in ((3, x), (2, y)):
        size = padded.shape[dim] - 2 * pad
        folded = padded.narrow(dim, pad, size).clone()
        if pad:
            folded.narrow(dim, 1, pad).add_(padded.narrow(dim, 0, pad).flip(dim))
            folded.narrow(dim, size - 1 - pad, pad).add_(padded.narrow(dim, pad + size, pad).flip(dim))
        padded = folded
    return padded
