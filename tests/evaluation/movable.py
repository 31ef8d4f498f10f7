"""Movable latent spaces whose equivariance is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.latents import Latents
from pipeline.randomness import SampleRandomness

WAVES = 12


class WaveSpace:
    """Sums of sinusoids of at most `most` periods a pixel, evaluated at the places asked for: what is
    equivariant exactly. `asked` keeps the moves."""

    device, classes, layers, truncates = torch.device("cpu"), 0, 1, False
    channels = 1

    def __init__(self, side: int = 32, most: float = 0.1) -> None:
        self.side, self.most = side, most
        self.asked: list[Tensor] = []

    def draw(self, seeds: Sequence[int], **_: Any) -> Fakes:
        z, _labels = self.latents(seeds)
        return Fakes(self.synthesise(self.map(z, None)), None, z)

    def latents(self, seeds: Sequence[int], *, classes: Any = None, truncation: float = 1.0) -> Latents:
        return Latents(SampleRandomness(list(seeds)).uniform(WAVES * 4), None)

    def map(self, z: Tensor, labels: Any, *, truncation: float = 1.0) -> Tensor:
        return z[:, None]

    def synthesise(self, codes: Tensor) -> Tensor:
        return self._seen(codes, torch.eye(3).expand(len(codes), 3, 3))

    def synthesise_moved(self, codes: Tensor, moves: Tensor) -> Tensor:
        self.asked += moves.expand(len(codes), 3, 3).clone()
        return self._seen(codes, moves.expand(len(codes), 3, 3))

    def _seen(self, codes: Tensor, moves: Tensor) -> Tensor:
        line = (torch.arange(self.side).double() + 0.5) / self.side - 0.5
        y, x = torch.meshgrid(line, line, indexing="ij")
        places = torch.stack([x, y, torch.ones_like(x)], dim=-1)
        moved = torch.einsum("nij,hwj->nhwi", moves.double(), places)
        values = self.at(codes, moved[..., 0], moved[..., 1]).float()
        return values[:, None].repeat(1, self.channels, 1, 1)

    def at(self, codes: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Values at places in image widths, [N, H, W]."""
        size, angle, phase, height = codes[:, 0].double().view(-1, WAVES, 4, 1, 1).unbind(2)
        wave, turn = 2 * math.pi * self.most * self.side * size, 2 * math.pi * angle
        along = x[:, None] * turn.cos() + y[:, None] * turn.sin()
        return (height * (wave * along + 2 * math.pi * phase).sin()).sum(1) / WAVES


class RampSpace(WaveSpace):
    """Images that grow by `slope` a pixel to the right, wherever their input is moved."""

    channels = 2

    def __init__(self, side: int = 32, slope: float = 0.01) -> None:
        super().__init__(side)
        self.slope = slope

    def at(self, codes: Tensor, x: Tensor, y: Tensor) -> Tensor:
        line = torch.arange(self.side).double() + 0.5 - self.side / 2
        return self.slope * line.expand_as(x)
