"""A GAN of fully connected layers (Goodfellow et al. 2014), the smallest family and a worked example."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from pipeline.config.families import MLPConfig
from pipeline.contracts import ImageSpec, Networks, Verdict
from pipeline.models.layers import LabelledLatent, VerdictHead
from pipeline.models.plain import PlainFamily


class MLP(PlainFamily):
    """Implements contracts.Family for images of any shape."""

    config: MLPConfig
    judges_alone = True

    def networks(self) -> Networks:
        return Networks(Generator(self.config, self.seen), Discriminator(self.config, self.seen))


class Generator(nn.Module):
    """Makes images [N, C, H, W] from z [N, z_dim] and labels [N]."""

    def __init__(self, config: MLPConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.z_dim, self.classes = config.z_dim, spec.classes
        self.shape = (spec.channels, spec.height, spec.width)
        self.latent = LabelledLatent(config.z_dim, spec.classes, config.label_dim)
        self.body = hidden(self.latent.outputs, config)
        self.out = nn.Linear(config.width, math.prod(self.shape))
        self.bounded = config.output == "tanh"

    def forward(self, z: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Tensor:
        return self.decode(self.code(z, labels), exact=exact)

    def code(self, z: Tensor, labels: Tensor | None) -> Tensor:
        code: Tensor = self.latent(z, labels)
        return code

    def code_weight(self) -> Tensor:
        first = self.body[0]
        assert isinstance(first, nn.Linear)
        return first.weight

    def decode(self, code: Tensor, *, exact: bool = False) -> Tensor:
        x: Tensor = self.out(self.body(code))
        return (torch.tanh(x) if self.bounded else x).view(-1, *self.shape)


class Discriminator(nn.Module):
    """Judges images [N, C, H, W] and labels [N]."""

    def __init__(self, config: MLPConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.body = hidden(spec.channels * spec.height * spec.width, config)
        self.head = VerdictHead(config.width, spec.classes, config.label_dim, config.conditioning)

    def forward(self, images: Tensor, labels: Tensor | None = None, *, exact: bool = False) -> Verdict:
        verdict: Verdict = self.head(self.body(images.flatten(1)), labels)
        return verdict


def hidden(inputs: int, config: MLPConfig) -> nn.Sequential:
    """Returns `config.layers` layers of `config.width` units with leaky ReLU."""
    widths = [inputs, *[config.width] * config.layers]
    parts = ((nn.Linear(a, b), nn.LeakyReLU(0.2)) for a, b in itertools.pairwise(widths))
    return nn.Sequential(*itertools.chain.from_iterable(parts))
