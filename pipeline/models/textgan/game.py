"""How they play: fakes are made of the reals' texts, and the discriminator is told a text with each image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pipeline.contracts import Fakes, Verdict
from pipeline.models.plain import PlainGame, PlainJudge
from pipeline.models.textgan.networks import Discriminator, Generator


@dataclass(frozen=True)
class TextGame(PlainGame):
    """texts: those of the micro-batch, uint8 [N, L], or numbers of another program's [N, dim]. Whatever is
    judged at place i is judged with text i."""

    texts: Tensor | None = None

    @cached_property
    def told(self) -> Tensor:
        """What texts say, [N, text_dim], without a graph: neither network teaches the encoder by it."""
        assert self.texts is not None, "it plays with samples alone"
        with torch.no_grad():
            told: Tensor = self.generator.encoder(self.texts)
        return told

    @property
    def wrong(self) -> Tensor:
        """The same of other samples: of the one before in each strided group, which is the same for any
        number of ranks and micro-batches."""
        return self.told.roll(len(self.told) // self.group, 0)

    @property
    def generator(self) -> Generator:
        """The generator, its encoder included."""
        return self.networks.generator  # type: ignore[return-value]

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        return replace(self.paint(self.told[:count]), labels=labels)

    def paint(self, told: Tensor) -> Fakes:
        """Makes an image of each of these texts' numbers."""
        z = self.randomness.first(len(told)).normal(self.generator.painter.z_dim)
        with self._measuring("generator") as stats:
            images = self.generator.painter(z, told)
        return Fakes(images, None, z, stats=stats)

    def judge_told(self, images: Tensor, told: Tensor) -> Verdict:
        """Augments images and returns the verdict on them with other texts than those of their places."""
        return self.judge_shown(self.draw_augmentation(len(images))(images), told)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """labels: texts' numbers; class numbers, or None, stand for the micro-batch's own texts."""
        is_told = labels is not None and labels.is_floating_point()
        return super().judge_shown(shown, labels if is_told else self.told[: len(shown)], exact=exact)

    def rejoined(self, features: Tensor) -> Tensor:
        """Returns the logits [N] of images with these features and wrong texts."""
        discriminator: Discriminator = self.networks.discriminator  # type: ignore[assignment]
        return discriminator.joined(features, self.wrong)

    def _judge(self, count: int) -> PlainJudge:
        return replace(super()._judge(count), tell=lambda labels: self.told[:count])
