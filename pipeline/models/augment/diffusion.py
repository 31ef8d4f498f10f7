"""Noise of many strengths before the discriminator, as of a diffusion process (Wang et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.families import DiffusionConfig
from pipeline.contracts import Randomness
from pipeline.models.augment.controller import Controller


class Diffusion(nn.Module):
    """Draws noise of t steps of a process that has T, the more the surer the discriminator is (section 3.3).

    The p that the controller adjusts moves T from `config.least_steps` to `config.most_steps`.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.controller = Controller(config)

    @property
    def steps(self) -> Tensor:
        """T, 0-d float64."""
        least, most = self.config.least_steps, self.config.most_steps
        return least + (self.controller.p.double() * (most - least)).round()

    def draw(self, randomness: Randomness, shape: tuple[int, int, int]) -> Noised:
        """Draws the noise of a batch of as many images as `randomness` has samples. shape: that of an image,
        (C, H, W).

        A sample is noised with probability `config.share`, by t steps with probability (t - 1) / (1 + 2 + ...
        + (T - 1)): the paper's "priority". The authors' code draws 32 such t for the whole batch whenever it
        adjusts T, and samples choose among these and as many zeros, by which each has the same law.
        """
        whether, place = randomness.uniform(2).double().unbind(1)
        noise = randomness.normal(*shape)
        total = self.steps
        # The inverse of P(t <= k) = k (k - 1) / (T (T - 1)).
        chosen = ((1 + (1 + 4 * place * total * (total - 1)).sqrt()) / 2).floor() + 1
        t = torch.where(whether < self.config.share, chosen, 0)
        kept = self._kept(t, total)
        return Noised(kept.sqrt().float(), ((1 - kept).sqrt() * self.config.noise).float(), noise, t.long())

    def _kept(self, t: Tensor, total: Tensor) -> Tensor:
        """Returns the product of 1 - beta over the first t steps, [N]; beta grows linearly over all T steps
        (Ho et al. 2020, section 4)."""
        config = self.config
        places = torch.arange(config.most_steps, device=t.device, dtype=t.dtype)
        beta = config.beta_first + (config.beta_last - config.beta_first) * places / (total - 1)
        # Steps beyond T have betas of 1 and more, which no t reaches.
        logs = torch.where(places < total, torch.log1p(-beta.clamp(max=config.beta_last)), 0)
        return torch.where(places < t[:, None], logs, 0).sum(dim=1).exp()


@dataclass(frozen=True, slots=True)
class Noised:
    """Implements contracts.Augmentation: sqrt(a_t) x + sqrt(1 - a_t) * noise (Wang et al. 2022, eq. 1).

    kept, spread: the two factors, [N]. noise: [N, C, H, W]. steps: t of each image, [N] int64.
    """

    kept: Tensor
    spread: Tensor
    noise: Tensor
    steps: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        kept, spread = (factor.to(images.dtype)[:, None, None, None] for factor in (self.kept, self.spread))
        return kept * images + spread * self.noise.to(images.dtype)

    def moved(self, images: Tensor) -> Tensor:
        return images
