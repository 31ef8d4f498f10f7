"""The input of StyleGAN3's generator: waves that can be turned and shifted (Karras et al. 2021, section 3.2
and appendix F)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.layers import Linear
from pipeline.models.stylegan3.plan import Row


class FourierInput(nn.Module):
    """Features [N, channels, size, size] of a row's signal, from w [N, w_dim].

    They are linear combinations of waves sin(2 pi (f x + phase)), whose frequencies f and phases are drawn
    once, f uniformly from the disc of radius `row.cutoff`. w turns and shifts them all.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, row: Row, w_dim: int) -> None:
        super().__init__()
        self.row, channels = row, row.channels
        self.affine = Linear(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            assert self.affine.bias is not None
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.weight_gain = 1 / math.sqrt(channels)
        self.register_buffer("frequencies", row.cutoff * _in_unit_disc(channels))
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, w: Tensor, moves: Tensor | None = None) -> Tensor:
        """moves: [3, 3] or [N, 3, 3], as in `latents.MovableSpace`."""
        transform = _turned_and_shifted(self.affine(w))  # [N, 3, 3]
        if moves is not None:
            transform = _product(transform, moves.to(transform))
        # As row vectors: f (A x + b) + phase = (f A) x + (f b + phase).
        x, y = self.frequencies.unbind(1)
        moved = x[:, None] * transform[:, None, 0] + y[:, None] * transform[:, None, 1]  # [N, C, 3]
        along_x, along_y, shift = moved.unbind(2)
        waves = self._waves(along_x, along_y, self.phases + shift)
        return F.conv2d(waves, (self.weight * self.weight_gain)[:, :, None, None])

    def _waves(self, along_x: Tensor, along_y: Tensor, phases: Tensor) -> Tensor:
        """Returns waves [N, C, size, size] of frequencies and phases [N, C]. Those that the sampling rate
        cannot hold fade out from the cutoff on."""
        row = self.row
        places = torch.arange(row.size, device=phases.device, dtype=phases.dtype)
        places = (places + 0.5 - row.size / 2) / row.rate  # of the pixels' middles
        columns = along_x[:, :, None, None] * places
        rows = along_y[:, :, None, None] * places[:, None] + phases[:, :, None, None]
        beyond = (torch.hypot(along_x, along_y) - row.cutoff) / (row.rate / 2 - row.cutoff)
        amplitudes = (1 - beyond).clamp(0, 1)[:, :, None, None]
        return torch.sin(2 * math.pi * (columns + rows)) * amplitudes


def _in_unit_disc(count: int) -> Tensor:
    """Draws points uniformly from the unit disc, [count, 2]: the square of a normal vector's length r is
    exponentially distributed, so that 1 - exp(-r^2 / 2) is uniform; so is exp(-r^2 / 2)."""
    normal = torch.randn(count, 2)
    lengths = normal.norm(dim=1, keepdim=True)
    points: Tensor = normal / lengths * (-lengths.square() / 4).exp()
    return points


def _turned_and_shifted(learnt: Tensor) -> Tensor:
    """Returns R T [N, 3, 3] of (cos, sin, x, y) [N, 4], scaled so that cos^2 + sin^2 = 1: a shift by
    (-x, -y), then a turn."""
    cos, sin, x, y = (learnt / torch.hypot(learnt[:, 0], learnt[:, 1])[:, None]).unbind(1)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [
        torch.stack([cos, -sin, sin * y - cos * x], dim=1),
        torch.stack([sin, cos, -sin * x - cos * y], dim=1),
        torch.stack([zero, zero, one], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Returns the matrix product; TF32, which a GPU may multiply matrices in, would move waves by pixels."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(dim=-2)
