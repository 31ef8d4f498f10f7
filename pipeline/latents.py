"""What a trained generator's latents offer to tools that walk them: protocols beyond `contracts.Sampler`.

A tool asks for a protocol, never for a family. *Codes* [N, layers, dim] are what images are a function of,
class included: StyleGAN2's w a layer; in other families z beside its class's embedding, with one layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline.contracts import Sampler


class Latents(NamedTuple):
    """Where an image begins. z: [N, z_dim]. labels: class numbers [N] int64; None in a model without
    classes."""

    z: Tensor
    labels: Tensor | None


@runtime_checkable
class LatentSpace(Sampler, Protocol):
    """A sampler whose images can be made in three steps, differentiably; `draw` takes them one after the
    other."""

    @property
    def device(self) -> torch.device: ...

    @property
    def classes(self) -> int:
        """Number of classes, 0 without."""
        ...

    @property
    def truncates(self) -> bool:
        """Whether truncation changes images; if not, only 1 is taken."""
        ...

    @property
    def layers(self) -> int:
        """How many layers take a code of their own."""
        ...

    def latents(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Latents:
        """What `draw` starts from. truncation takes effect here or in `map`, by family; pass it to both."""
        ...

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        """Codes [N, layers, dim] of z [N, z_dim] and labels [N]."""
        ...

    def synthesise(self, codes: Tensor) -> Tensor:
        """Images [N, C, H, W] float32 in about [-1, 1] of codes [N, layers, dim]."""
        ...


@runtime_checkable
class StyledSpace(LatentSpace, Protocol):
    """Codes are a mapping network's w, one a layer; noise enters apart from them."""

    def noise_maps(self) -> list[Tensor]:
        """Copies of the stored noise that `synthesise` uses, [H, W] each; empty for a model without."""
        ...

    def synthesise_with(self, codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """`synthesise` with these noise maps."""
        ...


@runtime_checkable
class LinearSpace(LatentSpace, Protocol):
    """Codes go into linear layers first, whose weights say what changes images most (Shen and Zhou 2021)."""

    def code_weights(self) -> list[Tensor]:
        """The weights that see codes, layer by layer, [outputs, dim] each; 0 where a class's embedding
        stands in the code."""
        ...


def lerp(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Points `at` [N] (0: first, 1: second) on straight lines [N, ...]; computed in float64."""
    at = at.double().view(-1, *[1] * (first.dim() - 1))
    return torch.lerp(first.double(), second.double(), at).to(first.dtype)


def slerp(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Points `at` [N] on great circles between vectors [N, D] (Shoemake 1985); lengths change evenly from
    the first's to the second's. Computed in float64; at 0 and 1 the vectors themselves, bit for bit.

    Vectors on one line through the origin have no such circle: a straight line.
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
