"""Protocols beyond `contracts.Sampler`, for tools that explore the latents of a trained generator.

A tool asks for a protocol, never for a family. *Codes* [N, layers, dim] determine an image completely, its
class included. In StyleGAN2 they are w for each layer; in other families they are z concatenated with the
embedding of the class, with one layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline.contracts import Sampler


class Latents(NamedTuple):
    """The latents that images are made from. z: [N, z_dim]. labels: class numbers [N] int64; None in a model
    without classes."""

    z: Tensor
    labels: Tensor | None


@runtime_checkable
class LatentSpace(Sampler, Protocol):
    """A sampler that also offers the three steps of `draw`: `latents`, then `map`, then `synthesise`. The
    last two are differentiable."""

    @property
    def device(self) -> torch.device: ...

    @property
    def classes(self) -> int:
        """The number of classes, 0 if there are none."""
        ...

    @property
    def truncates(self) -> bool:
        """Whether the model supports truncation; if not, only 1 is accepted."""
        ...

    @property
    def layers(self) -> int:
        """The number of layers with a code of their own."""
        ...

    def latents(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Latents:
        """Returns the latents that `draw` starts from.

        truncation: takes effect here or in `map`, depending on the family; pass it to both.
        """
        ...

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        """Returns the codes [N, layers, dim] of z [N, z_dim] and labels [N]."""
        ...

    def synthesise(self, codes: Tensor) -> Tensor:
        """Returns images [N, C, H, W] float32 in about [-1, 1], made from codes [N, layers, dim]."""
        ...


@runtime_checkable
class StyledSpace(LatentSpace, Protocol):
    """A latent space whose codes are a mapping network's w, one per layer; noise enters separately."""

    def noise_maps(self) -> list[Tensor]:
        """Returns copies of the stored noise maps that `synthesise` uses, [H, W] each; an empty list for a
        model without noise."""
        ...

    def synthesise_with(self, codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Does the same as `synthesise`, with the given noise maps."""
        ...


@runtime_checkable
class MovableSpace(LatentSpace, Protocol):
    """A latent space whose images can be shifted and turned where they begin, before the first layer (Karras
    et al. 2021, appendix F)."""

    def synthesise_moved(self, codes: Tensor, moves: Tensor) -> Tensor:
        """Does the same as `synthesise`, with the input moved.

        moves: [3, 3] or [N, 3, 3] float; they take places (x, y, 1) of the output to places of the input, in
        image widths, with the origin in the middle, x to the right and y downwards. To see the image shifted
        by t, ask for a shift by -t; `moves_of` makes the moves of what is to be seen.
        """
        ...


@runtime_checkable
class OrbitedSpace(LatentSpace, Protocol):
    """A latent space of scenes that a camera sees, which can stand elsewhere."""

    @property
    def azimuths(self) -> tuple[float, float]:
        """From where to where the camera has stood around the scenes in training, in degrees."""
        ...

    def seen_from(self, codes: Tensor, azimuths: Tensor, polars: Tensor | None = None) -> Tensor:
        """Returns the codes of the same scenes as seen from elsewhere.

        azimuths: [N], in degrees, that the camera stands around the pole. polars: [N], in degrees, its angles
        from the pole; None for those that the codes have.
        """
        ...


@runtime_checkable
class LinearSpace(LatentSpace, Protocol):
    """A latent space whose codes enter linear layers, whose weights show which directions change images most
    (Shen and Zhou 2021)."""

    def code_weights(self) -> list[Tensor]:
        """Returns the weights of these linear layers, [outputs, dim] for each layer of the code; they are 0
        for the dimensions that hold the embedding of the class."""
        ...


def moves_of(shift: Tensor, angle: Tensor) -> Tensor:
    """Returns the moves [N, 3, 3] under which a `MovableSpace` shows its images turned about the middle by
    `angle` [N] (radians, counter-clockwise), then shifted by `shift` [N, 2] (image widths, to the right and
    downwards). Computed in float64, returned in the dtype of `shift`."""
    x, y = shift.double().unbind(1)
    cosine, sine = angle.double().cos(), angle.double().sin()
    nothing = torch.zeros_like(x)
    # The way back from a place that is seen: first the shift, then the turn.
    rows = (
        (cosine, -sine, sine * y - cosine * x),
        (sine, cosine, -sine * x - cosine * y),
        (nothing, nothing, nothing + 1),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(shift.dtype)


def lerp(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Returns the points at the fractions `at` [N] of the straight lines from `first` to `second`, both
    [N, ...]; computed in float64."""
    at = at.double().view(-1, *[1] * (first.dim() - 1))
    return torch.lerp(first.double(), second.double(), at).to(first.dtype)


def slerp(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Returns the points at the fractions `at` [N] of the great circles between vectors [N, D] (Shoemake
    1985).

    Lengths change linearly from the first vector's to the second's. Computed in float64; at 0 and 1 the
    results are the vectors themselves, bit for bit. Vectors on one line through the origin determine no great
    circle and are joined by a straight line.
    """
    a, b, t = first.double(), second.double(), at.double()[:, None]
    lengths = torch.lerp(a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True), t)
    unit, other = (torch.nn.functional.normalize(vectors, dim=1) for vectors in (a, b))
    cosine = (unit * other).sum(1, keepdim=True).clamp(-1, 1)
    aside, angle = other - cosine * unit, cosine.acos()
    on_a_line = aside.norm(dim=1, keepdim=True) < 1e-6
    aside = torch.nn.functional.normalize(aside, dim=1)
    round_way = lengths * (unit * (t * angle).cos() + aside * (t * angle).sin())
    # lerp is exact at its ends.
    straight = on_a_line | (t == 0) | (t == 1)
    return torch.where(straight, torch.lerp(a, b, t), round_way).to(first.dtype)
