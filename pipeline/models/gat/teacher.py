"""The teacher of GAT's discriminator: DINOv2 (Oquab et al. 2023), and how images reach it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.dinov2 import PATCH, SIDE, DinoV2
from pipeline.errors import UserError

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of ImageNet, for images in [0, 1]


def teacher_of(tensors: Mapping[str, Tensor]) -> DinoV2:
    """Returns the network of a published file's tensors. Raises UserError if they are others'."""
    try:
        return DinoV2(tensors, resampling="filtered")
    except ValueError as error:
        raise UserError(
            f"fixtures.teacher: not the weights of a DINOv2 with patches of {PATCH}: {error}"
        ) from error


def as_imagenet(images: Tensor) -> Tensor:
    """Returns images [N, 1 or 3, H, W] in [-1, 1] as [N, 3, 224, 224], normalised by ImageNet's mean and
    deviation, then resized bicubically without a filter, as GAT's authors do."""
    mean, deviation = (
        torch.stack([images.new_full((1, 1), value) for value in values]) for values in (_MEAN, _DEVIATION)
    )
    normalised = ((images + 1) / 2 - mean) / deviation
    return F.interpolate(normalised, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
