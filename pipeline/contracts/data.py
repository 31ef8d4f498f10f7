"""What goes through the networks: images, verdicts of them, and what an objective makes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What the data looks like, as far as a network's shape depends on it.

    height, width: pixels. channels: 1 (grey) or 3 (RGB). classes: number of labels, 0 if unlabelled.
    """

    height: int
    width: int
    channels: int
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Real images: `images` [N, C, H, W] float32 in [-1, 1]; `labels` [N] int64 class numbers or None."""

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.images.shape[0]


@dataclass(frozen=True, slots=True)
class Fakes:
    """Generated images [N, C, H, W] in about [-1, 1], their labels [N] or None, and the latents they
    were made from, still in the graph (StyleGAN's w, [N, layers, w_dim]), for latent-space penalties."""

    images: Tensor
    labels: Tensor | None
    latents: Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the discriminator says of images: `logits` [N] float32 and, from an auxiliary classifier,
    class logits `classes` [N, K], else None."""

    logits: Tensor
    classes: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """One objective's value: `loss` [N], unreduced, to be averaged over the global batch by the trainer.

    `stats` are detached batch means (scalars or vectors) that the trainer averages over micro-batches
    and ranks, shows, and hands to `Family.observe`.
    """

    loss: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)
