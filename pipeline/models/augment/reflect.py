"""Padding of images by reflection."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from pipeline.models.augment.adjoint import linear_map


def reflect_pad(images: Tensor, x: int, y: int) -> Tensor:
    """Pads images by `x` columns on the left and right and `y` rows above and below: [N, C, H + 2y, W + 2x].

    Images are reflected about the centres of the border pixels, which are not repeated. Any width will do:
    small images are reflected repeatedly. The derivative adds in a fixed order, unlike torch's own on CUDA.
    """
    while x > 0 or y > 0:
        # torch reflects only once, which limits the padding to the width of the image.
        step_x, step_y = min(x, images.shape[3] - 1), min(y, images.shape[2] - 1)
        forth, back = partial(_mirrored, x=step_x, y=step_y), partial(_folded, x=step_x, y=step_y)
        images = linear_map(images, forth, back)
        x, y = x - step_x, y - step_y
    return images


def _mirrored(images: Tensor, x: int, y: int) -> Tensor:
    return F.pad(images, (x, x, y, y), mode="reflect")


def _folded(padded: Tensor, x: int, y: int) -> Tensor:
    """The adjoint of `_mirrored`: values beyond the border are added at their mirror image."""
    for dim, pad in ((3, x), (2, y)):
        size = padded.shape[dim] - 2 * pad
        folded = padded.narrow(dim, pad, size).clone()
        if pad:
            folded.narrow(dim, 1, pad).add_(padded.narrow(dim, 0, pad).flip(dim))
            folded.narrow(dim, size - 1 - pad, pad).add_(padded.narrow(dim, pad + size, pad).flip(dim))
        padded = folded
    return padded
