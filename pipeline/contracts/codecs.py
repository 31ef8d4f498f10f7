"""What stands between the data's pixels and what the networks see of them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pipeline.contracts.data import Batch, ImageSpec
from pipeline.contracts.players import Randomness


class Codec(Protocol):
    """Pixels to what the networks of a family play with, its latents, and back (Rombach et al. 2022, section
    3.1).

    The loop encodes what the stream gives before a game sees it, and a family's samplers decode what its
    generator makes: data, grids, data sets of samples, evaluation and exploration are all in pixels.
    """

    def latents(self, pixels: ImageSpec) -> ImageSpec:
        """Height, width and channels of the latents of such images, with their classes. UserError for images
        that it cannot take."""

    def encode(self, reals: Batch, randomness: Randomness) -> Batch:
        """The batch with latents [N, C', H', W'] in the place of its images [N, C, H, W] in [-1, 1]. Where
        latents are stored, they stand in `reals.extra`; where they are distributions, `randomness` draws.
        A real's latents depend on no other's. No gradient goes through."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images [N, C, H, W] in about [-1, 1] of latents, each by itself; differentiable."""


class Pixels:
    """The codec of families that play with the pixels themselves."""

    def latents(self, pixels: ImageSpec) -> ImageSpec:
        return pixels

    def encode(self, reals: Batch, randomness: Randomness) -> Batch:
        return reals

    def decode(self, latents: Tensor) -> Tensor:
        return latents


PIXELS: Codec = Pixels()
