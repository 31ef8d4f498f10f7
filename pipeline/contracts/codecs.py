"""Codecs: the translation between the pixels of the data and the tensors that the networks work on."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from pipeline.contracts.data import Batch, ImageSpec
from pipeline.contracts.players import Randomness


class Codec(Protocol):
    """Translates pixels into the latents that a family's networks work on, and back (Rombach et al. 2022,
    section 3.1).

    The training loop encodes each batch before a game sees it, and a family's samplers decode what its
    generator makes. Data, grids, data sets of samples, evaluation and exploration are thus all in pixels.
    """

    def latents(self, pixels: ImageSpec) -> ImageSpec:
        """Returns the height, width and channels of the latents of such images; the classes stay the same.

        Raises UserError for images that the codec cannot encode.
        """

    def encode(self, reals: Batch, randomness: Randomness) -> Batch:
        """Returns the batch with its images [N, C, H, W] in [-1, 1] replaced by latents [N, C', H', W'].

        Latents that were computed beforehand are read from `reals.extra`; latents that are distributions are
        sampled with `randomness`. The latents of one real do not depend on the other reals. No gradient
        passes through.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """Decodes latents [N, C', H', W'] into images [N, C, H, W] in about [-1, 1].

        Each image depends on its own latents alone. The result is differentiable.
        """


class Pixels:
    """The codec of families that work on the pixels themselves: it changes nothing."""

    def latents(self, pixels: ImageSpec) -> ImageSpec:
        return pixels

    def encode(self, reals: Batch, randomness: Randomness) -> Batch:
        return reals

    def decode(self, latents: Tensor) -> Tensor:
        return latents


PIXELS: Codec = Pixels()

CODEC = "codec"
"""The name of the fixture that a codec encodes and decodes with."""
MOMENTS = "moments"
"""The field of samples whose latents were computed beforehand: means, then standard deviations, before any
scale, [2C', H', W']."""
IN_PIXELS = "codec.pixels"
"""The key in `Batch.extra` of the images [N, C, H, W] in [-1, 1] whose latents stand in their place."""
