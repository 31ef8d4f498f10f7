"""Images from a trained generator, each a function of its own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.models.sampling import draw_one_by_one
from pipeline.models.stylegan2.generator import Generator


class StyleGAN2Sampler:
    """Draws with the stored noise constants, in float32; truncation pulls w towards its mean."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    @torch.no_grad()
    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Errors: UserError for classes that the model does not have or that do not match the seeds."""
        generator = self.generator

        def make(z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
            w = generator.mapping.truncate(generator.mapping(z, labels), truncation)
            ws = w[:, None].expand(-1, generator.layers, -1)
            return generator.synthesis(ws, "const", exact=True), ws

        return draw_one_by_one(
            seeds,
            classes,
            known=generator.classes,
            latents=lambda randomness: randomness.normal(generator.z_dim),
            make=make,
            device=next(generator.parameters()).device,
        )
