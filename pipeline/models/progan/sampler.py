"""Images from a generator at any stage of its growth, each a function of its own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.errors import UserError
from pipeline.models.progan.generator import Generator
from pipeline.models.sampling import draw_one_by_one


class ProGANSampler:
    """Draws what has grown, repeating its pixels up to the data's resolution."""

    def __init__(self, generator: Generator, resolution: int, fade: float) -> None:
        self.generator, self.resolution, self.fade = generator, resolution, fade

    @torch.no_grad()
    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Errors: UserError for classes that the model does not have or that do not match the seeds, and for
        a truncation: the generator normalises z, so that shorter latents make the same images."""
        if truncation != 1:
            raise UserError(f"truncation={truncation}: progan normalises its latents; allowed: 1")
        generator = self.generator

        def make(z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
            images = generator(z, labels, resolution=self.resolution, fade=self.fade, exact=True)
            return F.interpolate(images, size=generator.resolution, mode="nearest"), z

        return draw_one_by_one(
            seeds,
            classes,
            known=generator.classes,
            latents=lambda randomness: randomness.normal(generator.z_dim),
            make=make,
            device=next(generator.parameters()).device,
        )
