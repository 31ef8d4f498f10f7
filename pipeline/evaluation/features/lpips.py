"""The published weights of LPIPS (Zhang et al. 2018), and images as it takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.evaluation.features.extractor import as_rgb
from pipeline.evaluation.features.weights import LPIPS, VGG16, PerceptualWeights, Published
from pipeline.perceptual import PerceptualDistance

LARGEST_SIDE = 256


class Perceptual(PerceptualDistance):
    """LPIPS with published weights. `digest` is one sha256 for both files of weights."""

    def __init__(self, weights: PerceptualWeights, device: torch.device | str = "cpu") -> None:
        super().__init__()
        vgg, linear = weights.read_vgg(), weights.read_lpips()
        self.digest = perceptual_digest(weights)
        layers = {f"features.{name.split('.', 1)[1]}": p for name, p in self.stages.named_parameters()}
        copy_weights(layers, vgg, VGG16)
        copy_weights({f"lin{n}.model.1.weight": p for n, p in enumerate(self.weights)}, linear, LPIPS)
        self.eval().requires_grad_(False).to(device)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance [N] between RGB images [N, 3, H, W] and [N, 3, H, W], floats from 0 to 255, at least
        16 pixels a side."""
        return super().forward(first / 127.5 - 1, second / 127.5 - 1)


def as_perceived(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] -> [N, 3, h, w] from 0 to 255, for `Perceptual`. Images whose shorter
    side has 512 pixels or more are reduced to 256 by averaging (Karras et al. 2020, appendix D); grey is
    repeated."""
    factor = min(images.shape[2:]) // LARGEST_SIDE
    if factor > 1:
        images = nn.functional.avg_pool2d(images, factor)
    return as_rgb((images + 1) * 127.5)


def perceptual_digest(weights: PerceptualWeights) -> str:
    """What identifies the weights in results."""
    return hashlib.sha256(f"{weights.vgg_sha256} {weights.lpips_sha256}".lower().encode()).hexdigest()


def copy_weights(parameters: Mapping[str, Tensor], tensors: dict[str, Tensor], published: Published) -> None:
    """Copies tensors to the parameters of the same names. Raises UserError if one is missing or of another
    shape."""
    for name, parameter in parameters.items():
        if name not in tensors or tensors[name].shape != parameter.shape:
            what = f"{published.names[0]}: {published.what} weights"
            raise UserError(f"{what}: {name} is missing or of another shape")
        parameter.data.copy_(tensors[name])
