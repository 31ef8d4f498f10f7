"""Images from latents that are drawn, not encoded, and reconstructions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.losses import Likelihood
from pipeline.models.autoencoder.autoencoder import Autoencoder
from pipeline.models.autoencoder.game import two_values
from pipeline.models.sampling import LatentSampler
from pipeline.randomness import SampleRandomness

_VALUES = 256
_INTERVAL = 2 / (_VALUES - 1)
"""The distance between two neighbours of these values in [-1, 1]."""


class AutoencoderSampler(LatentSampler):
    """Decodes latents whose numbers are independent and normal, which are the data's own only as far as
    `kl_weight` made them so; otherwise other families learn what latents the data have.

    latents: the shape (C', H', W') of an image's latents. scaled: whether drawn latents get the spread of the
    data's (`Autoencoder.scale`), for latents that have not learnt to be standard normal. two_valued: whether
    images are made of -1 and 1 alone. Implements contracts.Reconstructor: latents are the means that the
    encoder tells.
    """

    def __init__(
        self, autoencoder: nn.Module, latents: tuple[int, ...], *, scaled: bool, two_valued: bool
    ) -> None:
        super().__init__(autoencoder, classes=0)
        self.autoencoder: Autoencoder = autoencoder  # type: ignore[assignment]
        self._shape, self._scaled, self._two_valued = latents, scaled, two_valued

    @property
    def truncates(self) -> bool:
        return False

    def _random(self, randomness: SampleRandomness, truncation: float) -> Tensor:
        if truncation != 1:
            raise UserError(f"truncation={truncation}: autoencoder has nothing to pull towards; allowed: 1")
        return randomness.normal(*self._shape).flatten(1)

    def map(self, z: Tensor, labels: Tensor | None, *, truncation: float = 1.0) -> Tensor:
        return z[:, None]

    def _made(self, codes: Tensor) -> Tensor:
        latents = codes.view(-1, *self._shape)
        latents = latents / self.autoencoder.scale if self._scaled else latents
        return self.autoencoder.decode(latents, exact=True)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        moments = self.autoencoder.encode(self.shown(images), exact=True)
        return self.autoencoder.decode(moments.mean, exact=True)

    def shown(self, images: Tensor) -> Tensor:
        return two_values(images) if self._two_valued else images


class VariationalSampler(AutoencoderSampler):
    """Of an autoencoder whose latents have a distribution. Implements contracts.Evidential.

    likelihood: that of images given a reconstruction. Where it is one of real numbers, the 256 values are
    spread evenly over their intervals, which bounds the probability of the values themselves (Theis et al.
    2016, section 3.1); where it is one of two values, the images' are those of `two_values`.
    """

    def __init__(self, autoencoder: nn.Module, latents: tuple[int, ...], likelihood: Likelihood, **how: bool):
        super().__init__(autoencoder, latents, **how)
        self._likelihood = likelihood

    @property
    def values(self) -> int:
        return 2 if self._two_valued else _VALUES

    @torch.no_grad()
    def evidence(
        self, images: Tensor, seeds: Sequence[int], *, classes: Sequence[int] | None = None
    ) -> Tensor:
        randomness = SampleRandomness(seeds, self.device, source="cpu")
        spread, cells = randomness.uniform(*images.shape[1:]), 0.0
        if self._two_valued:
            images = two_values(images)
        else:
            images = images + (spread - 0.5) * _INTERVAL
            cells = images[0].numel() * math.log(_INTERVAL)
        moments = self.autoencoder.encode(images, exact=True)
        latents = moments.sample(randomness.normal(*moments.mean.shape[1:]))
        decoded = self.autoencoder.decode(latents, exact=True)
        return cells - self._likelihood(images, decoded, self.autoencoder.log_scale) - moments.kl()
