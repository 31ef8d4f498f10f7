"""How different two images look: LPIPS (Zhang et al. 2018), version 0.1 with VGG16, and the plain distance of
VGG19's features (Johnson et al. 2016, eq. 2), as networks.

They know no files. Those of the published weights are read in `evaluation.features`; one that holds both is a
fixture of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# Simonyan and Zisserman 2015, table 1, column D: widths of the convolutions between poolings.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Column E.
VGG19_STAGES = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
LEAST_SIDE = 16
"""The least height and width in pixels, which the poolings halve four times."""
_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPSILON = 1e-10


class PerceptualDistance(nn.Module):
    """The distance between images, differentiable. `stages` are VGG16's convolutions, `weights` what LPIPS
    has learnt to make of the features of each stage."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = _stages(STAGES)
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


class FeatureDistance(nn.Module):
    """The distance between images by VGG19's features, differentiable: the sum over layers of weight * mean
    |difference|.

    taps: the weight of each layer by its usual name: "conv5_4", before ReLU, or "relu5_1". normalised:
    whether images are normalised as those were that VGG19 was trained on; otherwise they are taken in
    [-1, 1].
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, taps: Mapping[str, float], *, normalised: bool) -> None:
        super().__init__()
        self.stages = _stages(VGG19_STAGES)
        self.taps, self._normalised = dict(taps), normalised
        unknown = [tap for tap in taps if tap not in _layers()]
        if unknown:
            raise ValueError(f"VGG19 has no layer {unknown[0]}")
        for name, values in (("mean", _IMAGENET_MEAN), ("deviation", _IMAGENET_DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Returns the distance [N] between images [N, C, H, W] and [N, C, H, W] in [-1, 1]; grey ones are
        taken as colours, and opacity is left out. No gradient passes to `second`."""
        ours = self.features(first)
        with torch.no_grad():
            theirs = self.features(second)
        apart = [
            weight * (ours[tap] - theirs[tap]).abs().flatten(1).mean(dim=1)
            for tap, weight in self.taps.items()
        ]
        return sum(apart[1:], apart[0])

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the features of the layers in `taps`, each [N, C', H', W']."""
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
        if self._normalised:
            x = ((x + 1) / 2 - self.mean) / self.deviation
        names = {name: layer for layer, name in _layers().items()}
        found: dict[str, Tensor] = {}
        for stage in self.stages:
            for name, layer in stage.named_children():
                x = layer(x)
                if names.get(name) in self.taps:
                    found[names[name]] = x
                if len(found) == len(self.taps):
                    return found
        return found


def _layers() -> dict[str, str]:
    """Returns the number of each layer of VGG19, in the published file, by its usual name."""
    numbers, number = {}, 0
    for stage, widths in enumerate(VGG19_STAGES, start=1):
        number += stage > 1
        for place in range(1, len(widths) + 1):
            numbers[f"conv{stage}_{place}"], numbers[f"relu{stage}_{place}"] = str(number), str(number + 1)
            number += 2
    return numbers


def features_from(
    tensors: Mapping[str, Tensor], taps: Mapping[str, float], *, normalised: bool
) -> FeatureDistance:
    """Returns the network with these weights, by its own names, for use as a fixture. Raises RuntimeError if
    they do not fit."""
    network = FeatureDistance(taps, normalised=normalised)
    network.load_state_dict(tensors)
    return network


def _unit(features: Tensor) -> Tensor:
    """Scales the channel vector at each position to length 1."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)


def _stages(widths_of_stages: Sequence[Sequence[int]]) -> nn.ModuleList:
    """Returns the stages of a VGG. Layers are numbered through all of them, as in the published files."""
    stages, width, number = nn.ModuleList(), 3, 0
    for place, widths in enumerate(widths_of_stages):
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
