"""LPIPS (Zhang et al. 2018), version 0.1 with VGG16: how different two images look to people."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.evaluation.features.extractor import as_rgb
from pipeline.evaluation.features.weights import LPIPS, VGG16, PerceptualWeights, Published

# Simonyan and Zisserman 2015, table 1, column D: widths of the convolutions between poolings.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10
LARGEST_SIDE = 256


class Perceptual(nn.Module):
    """The distance between images, differentiable. `digest` is one sha256 for both files of weights."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: PerceptualWeights, device: torch.device | str = "cpu") -> None:
        super().__init__()
        vgg, linear = weights.read_vgg(), weights.read_lpips()
        self.digest = perceptual_digest(weights)
        self.stages = _stages()
        self.weights = nn.ParameterList(torch.zeros(1, stage[-1], 1, 1) for stage in _STAGES)
        layers = {f"features.{name.split('.', 1)[1]}": p for name, p in self.stages.named_parameters()}
        _copy(layers, vgg, VGG16)
        _copy({f"lin{n}.model.1.weight": p for n, p in enumerate(self.weights)}, linear, LPIPS)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))
        self.eval().requires_grad_(False).to(device)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The distance [N] between RGB images [N, 3, H, W] and [N, 3, H, W], floats from 0 to 255, at least
        16 pixels a side."""
        x, y = (((images / 127.5 - 1) - self.mean) / self.deviation for images in (first, second))
        distance = first.new_zeros(len(first))
        for stage, weight in zip(self.stages, self.weights, strict=True):
            x, y = stage(x), stage(y)
            distance = distance + (weight * (_unit(x) - _unit(y)).square()).sum(1).mean(dim=(1, 2))
        return distance


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


def _unit(features: Tensor) -> Tensor:
    """Scales the channel vector at each position to length 1."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)


def _stages() -> nn.ModuleList:
    """The stages of VGG16. Layers are numbered through all of them, as in the published file."""
    stages, width, number = nn.ModuleList(), 3, 0
    for place, widths in enumerate(_STAGES):
        stage = nn.Sequential()
        if place:
            stage.add_module(str(number), nn.MaxPool2d(2))
            number += 1
        for wide in widths:
            stage.add_module(str(number), nn.Conv2d(width, wide, 3, padding=1))
            stage.add_module(str(number + 1), nn.ReLU())
            width, number = wide, number + 2
        stages.append(stage)
    return stages


def _copy(parameters: Mapping[str, Tensor], tensors: dict[str, Tensor], published: Published) -> None:
    for name, parameter in parameters.items():
        if name not in tensors or tensors[name].shape != parameter.shape:
            what = f"{published.names[0]}: {published.what} weights"
            raise UserError(f"{what}: {name} is missing or of another shape")
        parameter.data.copy_(tensors[name])
