"""How an autoencoder plays: its fakes are reconstructions of the reals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes
from pipeline.models.autoencoder.autoencoder import Autoencoder
from pipeline.models.plain import PlainGame


@dataclass(frozen=True)
class AutoencoderGame(PlainGame):
    """reals: the micro-batch. two_valued: whether images are made of -1 and 1 alone."""

    reals: Batch | None = None
    two_valued: bool = False

    def present(self, reals: Batch) -> Batch:
        return replace(reals, images=two_values(reals.images)) if self.two_valued else reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Reconstructs the first `count` reals. `Fakes.latents` are the moments of their latents
        [N, 2C', H', W'] (`moments_of`), of which each latent is drawn."""
        assert self.reals is not None, "an autoencoder plays with reals alone"
        autoencoder: Autoencoder = self.networks.generator  # type: ignore[assignment]
        moments = autoencoder.encode(self.present(self.reals).images[:count], exact=exact)
        latents = moments.mean
        if autoencoder.shape.distributions:
            latents = moments.sample(self.randomness.first(count).normal(*latents.shape[1:]))
        with torch.no_grad():
            stats = {"latents/mean": latents.mean(), "latents/square": latents.square().mean()}
        return Fakes(autoencoder.decode(latents, exact=exact), labels, moments.together(), stats=stats)


def two_values(images: Tensor) -> Tensor:
    """Returns images with -1 for numbers up to 0 and 1 for those above."""
    return torch.where(images > 0, 1.0, -1.0).to(images.dtype)
