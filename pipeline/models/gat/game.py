"""The game of GAT's networks: several levels, behind one augmentation and a chain of noises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.contracts import Batch, Fakes, Judge, Networks, Randomness, Stage, Verdict
from pipeline.models.augment import DiffAugment, Retouched
from pipeline.models.gat.alignment import Alignment
from pipeline.models.gat.generator import Generator
from pipeline.models.gat.noise import amounts_of, noised, reduced
from pipeline.models.gat.shape import Shape
from pipeline.models.plain import labels_for


@dataclass(frozen=True)
class GATGame:
    """Implements contracts.LevelledGame and contracts.ReplayedGame. z is standard normal, and labels that are
    not given are uniform.

    augment: what is drawn for reals and fakes. alignment: how reals are aligned with a teacher; None if they
    are not. Each side is judged in a pass of its own.
    """

    networks: Networks
    stage: Stage
    randomness: Randomness
    shape: Shape
    augment: DiffAugment
    alignment: Alignment | None = None

    def present(self, reals: Batch) -> Batch:
        return reals

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Generates fakes whose latents are w, [count, 1, width]."""
        generator = self.networks.generator
        assert isinstance(generator, Generator)
        randomness = self.randomness.first(count)
        z = randomness.normal(generator.z_dim)
        labels = labels_for(generator.classes, labels, randomness)
        w = generator.mapping(z, labels)
        levels: tuple[Tensor, ...] = generator.synthesis(w, exact=exact)
        return Fakes(levels[-1], labels, w[:, None], levels)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the images themselves at every level: those of a fake have the same size too."""
        return (images,) * len(self.shape.scales)

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        return self._judge(len(images), self._aligning())((images,), labels, exact=exact)

    def judge_levels(
        self, levels: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False
    ) -> Verdict:
        return self._judge(len(levels[-1]))(levels, labels, exact=exact)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        count = len(reals)
        judges = self._judge(count), self._judge(count, self._aligning())
        return self.judge_both_by(judges, fakes, reals, exact=exact)

    def draw_judge(self, count: int) -> Judge:
        return self._judge(count)

    def judge_both_by(
        self, judges: tuple[Judge, Judge], fakes: Fakes, reals: Batch, *, exact: bool = False
    ) -> tuple[Verdict, Verdict]:
        of_fakes, of_reals = judges
        fake = of_fakes(fakes.seen, fakes.labels, exact=exact)
        return fake, of_reals((reals.images,), reals.labels, exact=exact)

    def _judge(self, count: int, alignment: Alignment | None = None) -> GATJudge:
        randomness, shapes = self.randomness.first(count), self.shape.level_shapes
        augmentation = self.augment.draw(randomness, (self.shape.height, self.shape.width))
        sizes = [math.prod(shape) for shape in shapes]
        parts = torch.split(randomness.normal(sum(sizes)), sizes, dim=1)
        fresh = [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        return GATJudge(self, augmentation, fresh, alignment)

    def _aligning(self) -> Alignment | None:
        """Returns the alignment in the turns that train the discriminator."""
        trained = any(parameter.requires_grad for parameter in self.networks.discriminator.parameters())
        return self.alignment if trained else None


class GATJudge:
    """Implements contracts.Judge: augments all levels alike, brings them to their sizes, and adds noise.

    Changes of colour are about the means of the last level of the samples that are judged first; samples
    that are judged later, slightly moved, keep these means. fresh: the noise of each level. alignment: how
    the first samples are aligned, which are then reals.
    """

    def __init__(
        self, game: GATGame, augmentation: Retouched, fresh: Sequence[Tensor], alignment: Alignment | None
    ) -> None:
        self._game, self._augmentation, self._fresh = game, augmentation, fresh
        self._alignment = alignment
        self._about_first: Retouched | None = None

    def __call__(self, seen: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False) -> Verdict:
        first = self._about_first is None
        alignment = self._alignment if first else None
        judged = self._game.networks.discriminator(
            self._shown(seen), labels, aligned=alignment is not None, exact=exact
        )
        logits, features = judged
        extra = {} if alignment is None else alignment.distances(features, self._augmentation)
        return Verdict(logits, extra=extra)

    def _shown(self, seen: Sequence[Tensor]) -> tuple[Tensor, ...]:
        shape = self._game.shape
        if self._about_first is None:
            self._about_first = self._augmentation.about(seen[-1])
        augmented = [self._about_first(images) for images in seen]
        if len(augmented) == 1:  # of a real, once for all levels
            augmented *= len(shape.scales)
        config = shape.config
        amounts = amounts_of(len(augmented), config.noise_signal, config.noise_floor)
        levels = [reduced(images, scale) for images, scale in zip(augmented, shape.scales, strict=True)]
        return noised(levels, self._fresh, amounts, shape.scales)
