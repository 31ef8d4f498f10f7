"""LPIPS (Zhang et al. 2018), version 0.1 with VGG16, as a network: how different two images look to people.

It knows no files. Those of the published weights are read in `evaluation.features`; one that holds both is a
fixture of training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# Simonyan and Zisserman 2015, table 1, column D: widths of the convolutions between poolings.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
LEAST_SIDE = 16
"""The least height and width in pixels, which the poolings halve four times."""
_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class PerceptualDistance(nn.Module):
    """The distance between images, differentiable. `stages` are VGG16's convolutions, `weights` what LPIPS
    has learnt to make of the features of each stage."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = _stages()
        self.weights = nn.ParameterList(torch.zeros(1, stage[-1], 1, 1) for stage in STAGES)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns the distance [N] between RGB images [N, 3, H, W] and [N, 3, H, W] in [-1, 1]."""
        x, y = ((images - self.mean) / self.deviation for images in (first, second))
        distance = first.new_zeros(len(first))
        for stage, weight in zip(self.stages, self.weights, strict=True):
            x, y = stage(x), stage(y)
            distance = distance + (weight * (_unit(x) - _unit(y)).square()).sum(1).mean(dim=(1, 2))
        return distance


def perceptual_from(tensors: Mapping[str, Tensor]) -> PerceptualDistance:
    """Returns the network with these weights, by its own names, for use as a fixture. Raises RuntimeError if
    they do not fit."""
    network = PerceptualDistance()
    network.load_state_dict(tensors)
    return network


def _unit(features: Tensor) -> Tensor:
    """Scales the channel vector at each position to length 1."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)


def _stages() -> nn.ModuleList:
    """Returns the stages of VGG16. Layers are numbered through all of them, as in the published file."""
    stages, width, number = nn.ModuleList(), 3, 0
    for place, widths in enumerate(STAGES):
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
