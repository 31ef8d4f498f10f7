"""How StyleGAN2's networks play: latents, style mixing and noise; augmentation before judging."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Networks, Randomness, Stage, Verdict
from pipeline.models.plain import Augmentation, labels_for
from pipeline.models.stylegan2.discriminator import Discriminator
from pipeline.models.stylegan2.generator import Generator
from pipeline.models.together import judge_together


@dataclass(frozen=True)
class StyleGAN2Game:
    """One micro-batch's game.

    mixing: probability that a fake mixes two latents' styles. augment: what the discriminator's images
    pass through, reals and fakes alike; None for nothing.
    """

    networks: Networks
    stage: Stage
    randomness: Randomness
    mixing: float
    augment: Augmentation | None = None

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """latents: w of each layer, [count, layers, w_dim]. Layer 0 always has the first latent's style."""
        generator = self.networks.generator
        assert isinstance(generator, Generator)
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        if self.mixing > 0 and generator.layers > 1:
            ws = _mixed(generator, z, labels, randomness, self.mixing)
        else:
            ws = generator.mapping(z, labels)[:, None].expand(-1, generator.layers, -1)
        noise = _noise(generator, randomness)
        return Fakes(generator.synthesis(ws, noise, exact=exact), labels, ws)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self._judge(self._shown(images), labels, exact=exact)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        discriminator = self.networks.discriminator
        assert isinstance(discriminator, Discriminator)
        fake, real = ((self._shown(part.images), part.labels) for part in (fakes, reals))
        return judge_together(partial(self._judge, exact=exact), fake, real, discriminator.group)

    def _shown(self, images: Tensor) -> Tensor:
        return images if self.augment is None else self.augment(images, self.randomness.first(len(images)))

    def _judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        found = self.networks.discriminator(images, labels, exact=exact)
        return Verdict(*found) if isinstance(found, tuple) else Verdict(found)


def _mixed(
    generator: Generator, z: Tensor, labels: Tensor | None, randomness: Randomness, probability: float
) -> Tensor:
    """Style mixing (Karras et al. 2019, section 3.1), [N, layers, w_dim].

    With `probability` a second latent takes over from a layer drawn uniformly from 1 on; a mask makes
    that one computation for the whole batch.
    """
    layers = generator.layers
    second = randomness.normal(generator.z_dim)
    cutoff = randomness.integers(layers - 1) + 1
    cutoff = torch.where(randomness.uniform() < probability, cutoff, layers)  # [N]
    both = None if labels is None else torch.cat([labels, labels])
    w, w_second = generator.mapping(torch.cat([z, second]), both).chunk(2)
    first = torch.arange(layers, device=z.device) < cutoff[:, None]  # [N, layers]
    return torch.where(first[:, :, None], w[:, None], w_second[:, None])


def _noise(generator: Generator, randomness: Randomness) -> list[Tensor]:
    """Fresh noise of every layer, [N, 1, H, W] each, from one draw a sample."""
    shapes = generator.synthesis.noise_shapes
    flat = randomness.normal(sum(h * w for h, w in shapes))
    parts = torch.split(flat, [h * w for h, w in shapes], dim=1)
    return [part.view(-1, 1, h, w) for part, (h, w) in zip(parts, shapes, strict=True)]
