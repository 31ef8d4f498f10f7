"""Images from a trained generator, each a function of its own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.errors import UserError
from pipeline.models.stylegan2.generator import Generator
from pipeline.randomness import SampleRandomness


class StyleGAN2Sampler:
    """Draws with the stored noise constants, in float32.

    On CPU images are made one by one: the same bits in any batch. Elsewhere the batch is one computation
    and an image may differ in rounding with the batch's size.
    """

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
        device = next(generator.parameters()).device
        # Numbers come from the CPU so that a seed means the same image on every kind of device.
        randomness = SampleRandomness(seeds, device, source="cpu")
        z = randomness.normal(generator.z_dim)
        labels = self._labels(len(seeds), classes, randomness, device)
        size = 1 if device.type == "cpu" else max(len(seeds), 1)
        parts = [
            self._images(z[i : i + size], None if labels is None else labels[i : i + size], truncation)
            for i in range(0, max(len(seeds), 1), size)
        ]
        images, ws = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return Fakes(images, labels, ws)

    def _images(self, z: Tensor, labels: Tensor | None, truncation: float) -> tuple[Tensor, Tensor]:
        generator = self.generator
        w = generator.mapping.truncate(generator.mapping(z, labels), truncation)
        ws = w[:, None].expand(-1, generator.layers, -1)
        return generator.synthesis(ws, "const", exact=True), ws

    def _labels(
        self,
        count: int,
        classes: Sequence[int] | None,
        randomness: SampleRandomness,
        device: torch.device,
    ) -> Tensor | None:
        known = self.generator.classes
        if not known:
            if classes is not None:
                raise UserError("classes: this model was trained without labels; leave the classes out")
            return None
        if classes is None:
            return randomness.integers(known)
        if len(classes) != count:
            raise UserError(f"classes: {len(classes)} for {count} seeds; give one class an image")
        wrong = [c for c in classes if not 0 <= c < known]
        if wrong:
            raise UserError(f"classes: this model has no class {wrong[0]}; allowed: 0 to {known - 1}")
        return torch.tensor(list(classes), dtype=torch.int64, device=device)
