"""The game of StyleGAN2's networks: latents, style mixing and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contracts import Fakes, Randomness, Verdict
from pipeline.models.augment import Noised
from pipeline.models.plain import PlainGame, PlainJudge, labels_for
from pipeline.models.stylegan2.discriminator import Discriminator
from pipeline.models.stylegan2.generator import Generator


@dataclass(frozen=True)
class ToldGame(PlainGame):
    """A game of StyleGAN2's discriminator. noising: draws noise that it is told of, which comes after the
    augmentation; `judge_shown` judges images as they are and tells it of none."""

    noising: Callable[[Randomness], Noised] | None = None

    def _judge(self, count: int) -> PlainJudge:
        plain = super()._judge(count)
        if self.noising is None:
            return plain
        noised = self.noising(self.randomness.first(count))

        def tell(labels: Tensor | None) -> Tensor:
            told = [noised.steps] if labels is None else [labels, noised.steps]
            return torch.stack(told, dim=1)

        return PlainJudge(self, lambda seen: noised(plain.show(seen)), tell=tell)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        logits = self.networks.discriminator(shown, labels, exact=exact)
        return Verdict(*logits) if isinstance(logits, tuple) else Verdict(logits)

    def rows(self, count: int) -> int | None:
        discriminator = self.networks.discriminator
        assert isinstance(discriminator, Discriminator)
        return discriminator.group


@dataclass(frozen=True)
class StyleGAN2Game(ToldGame):
    """The game of one micro-batch. mixing: the probability that a fake mixes the styles of two latents."""

    mixing: float = 0.0

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Generates fakes whose latents are the w of each layer, [count, layers, w_dim].

        Layer 0 always has the style of the first latent.
        """
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


def _mixed(
    generator: Generator, z: Tensor, labels: Tensor | None, randomness: Randomness, probability: float
) -> Tensor:
    """Returns w of each layer with style mixing (Karras et al. 2019, section 3.1), [N, layers, w_dim].

    With the given probability, a second latent takes over at a layer that is drawn uniformly from 1 on. A
    mask makes this one computation for the whole batch.
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
    """Draws noise for every layer, [N, 1, H, W] each, with one draw per sample."""
    shapes = generator.synthesis.noise_shapes
    flat = randomness.normal(sum(h * w for h, w in shapes))
    parts = torch.split(flat, [h * w for h, w in shapes], dim=1)
    return [part.view(-1, 1, h, w) for part, (h, w) in zip(parts, shapes, strict=True)]
