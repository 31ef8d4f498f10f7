"""DINOv2 (Oquab et al. 2023), whose features agree with human judgement of images better than Inception's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.dinov2 import DinoV2
from pipeline.errors import UserError
from pipeline.evaluation.features.vgg16 import as_imagenet
from pipeline.evaluation.features.weights import (
    OPTION,
    WITHOUT,
    ExtractorChoice,
    Published,
    parse_tensors,
    read_checked,
)

DINOV2 = Published(
    "DINOv2",
    ("dinov2_vitl14_pretrain.pth",),
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    OPTION,
    WITHOUT,
)
_DEPTH = 24  # blocks of the ViT-L


class DinoV2Extractor:
    """Class tokens of DINOv2's ViT-L/14 (Oquab et al. 2023)."""

    name, size, has_logits = "dinov2", 1024, False
    resize = "bilinear to 224 as TensorFlow 1 did, without antialiasing"

    def __init__(self, choice: ExtractorChoice, device: torch.device) -> None:
        path, data = read_checked(DINOV2, choice.path, choice.sha256)
        self.digest, self.device = (choice.sha256 or DINOV2.sha256).lower(), device
        self._network = _network(path, parse_tensors(DINOV2, path, data)).to(device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        """uint8 RGB [N, 3, H, W] -> features [N, 1024] float32 on the CPU."""
        return self._network(as_imagenet(images.to(self.device)))[:, 0].cpu(), None


def _network(path: Path, tensors: Mapping[str, Tensor]) -> DinoV2:
    try:
        network = DinoV2(tensors, resampling="published")
    except ValueError as error:
        raise UserError(f"{path}: DINOv2 weights: not those of its ViT-L/14: {error}") from error
    if (network.width, len(network.blocks)) != (DinoV2Extractor.size, _DEPTH):
        raise UserError(
            f"{path}: DINOv2 weights: {len(network.blocks)} blocks of width {network.width}; allowed: "
            f"{_DEPTH} of {DinoV2Extractor.size}, those of its ViT-L/14"
        )
    return network


def fetch(choice: ExtractorChoice) -> None:
    """Ensures that the weights are present."""
    read_checked(DINOV2, choice.path, choice.sha256)
