"""The network: features, and the two heads that learn from them (Ganin et al. 2016, figure 4a)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config.families import DANNConfig
from pipeline.contracts import ImageSpec, Scalar
from pipeline.models.layers import GroupBatchNorm


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Scalar) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -(grads[0] * ctx.weight), None


def reversed_gradient(x: Tensor, weight: Scalar) -> Tensor:
    """Returns x, through which gradients pass multiplied by -weight (Ganin et al. 2016, eq. 11 and 12)."""
    reversed_: Tensor = _Reversal.apply(x, weight)
    return reversed_


class Classifier(nn.Module):
    """Tells of images [N, C, H, W] the logits of their classes, [N, classes].

    `features` become [N, D] numbers, from which `label` tells the class and `domain` the set: its
    logit [N, 1] is above 0 for the second.
    """

    def __init__(self, config: DANNConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.classes = spec.classes
        layers = (
            layer
            for inputs, outputs in pairwise((spec.channels, *config.channels))
            for layer in _convolution(inputs, outputs, config.batch_norm_group)
        )
        self.features = nn.Sequential(*layers, nn.Flatten())
        numbers = config.channels[-1] * (spec.height // 4) * (spec.width // 4)
        self.label = _layers(numbers, config.width, config.width, spec.classes)
        self.domain = _layers(numbers, config.width, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.label(self.features(images))
        return logits

    def both(self, first: Tensor, second: Tensor, weight: Scalar) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the class logits of the first images, [N, classes], and the logits [N] of the set of the
        first and of the second. weight: that of the reversed gradient."""
        # Apart, as each set has batch statistics of its own.
        features, others = self.features(first), self.features(second)
        sets = self.domain(reversed_gradient(torch.cat([features, others]), weight)).squeeze(1)
        return self.label(features), sets[: len(first)], sets[len(first) :]


def _convolution(inputs: int, outputs: int, group: int) -> list[nn.Module]:
    """Returns a convolution of 5x5 that halves the resolution, with normalisation unless group is 0."""
    norm = [GroupBatchNorm(outputs, group)] if group else []
    return [nn.Conv2d(inputs, outputs, 5, padding=2), *norm, nn.ReLU(), nn.MaxPool2d(2)]


def _layers(*widths: int) -> nn.Sequential:
    """Returns fully connected layers, with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def told_apart(first: Tensor, second: Tensor) -> Tensor:
    """Returns the loss [N] of the head that tells the sets apart, on an image of each: the binomial
    cross-entropy of both (Ganin et al. 2016, eq. 6 and 9)."""
    return F.softplus(first) + F.softplus(-second)
