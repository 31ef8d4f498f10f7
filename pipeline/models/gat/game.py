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
    """Implements contracts.LevelledGame, AugmentedGame and ReplayedGame. z is standard normal, and labels
    that are not given are uniform.

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
        return self._judge(len(images)).of_reals(Batch(images, labels), exact=exact)

    def judge_levels(
        self, levels: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False
    ) -> Verdict:
        return self._judge(len(levels[-1]))(levels, labels, exact=exact)

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        count = len(reals)
        return self.judge_both_by((self._judge(count), self._judge(count)), fakes, reals, exact=exact)

    def draw_judge(self, count: int) -> Judge:
        return self._judge(count)

    def judge_both_by(
        self, judges: tuple[Judge, Judge], fakes: Fakes, reals: Batch, *, exact: bool = False
    ) -> tuple[Verdict, Verdict]:
        of_fakes, of_reals = judges
        assert isinstance(of_reals, GATJudge)
        fake = of_fakes(fakes.seen, fakes.labels, exact=exact)
        return fake, of_reals.of_reals(reals, exact=exact)

    def draw_augmentation(self, count: int) -> SameMeans:
        size = self.shape.height, self.shape.width
        drawn = self.augment.draw(self.randomness.first(count), size)
        return SameMeans(drawn, held=self._trains_discriminator)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """Returns the verdict on images [N, C, H, W] without augmentation, behind noise of their own."""
        return GATJudge(self, None, self._noise(len(shown)))((shown,), labels, exact=exact)

    def aligning(self) -> Alignment | None:
        """Returns the alignment in turns that train the discriminator; None in others."""
        return self.alignment if self._trains_discriminator else None

    @property
    def _trains_discriminator(self) -> bool:
        return any(parameter.requires_grad for parameter in self.networks.discriminator.parameters())

    def _judge(self, count: int) -> GATJudge:
        return GATJudge(self, self.draw_augmentation(count), self._noise(count))

    def _noise(self, count: int) -> list[Tensor]:
        """Draws standard normal numbers in the shape of each level."""
        shapes = self.shape.level_shapes
        sizes = [math.prod(shape) for shape in shapes]
        parts = torch.split(self.randomness.first(count).normal(sum(sizes)), sizes, dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


class SameMeans:
    """Implements contracts.Augmentation: changes of colour are about the means of what it is first applied
    to, as it is before any change, whatever else it is applied to later (other levels, moved images).

    held: whether no gradient passes through the means, so that exact penalties are about what finite
    differences are about. In the generator's turn it does.
    """

    def __init__(self, drawn: Retouched, *, held: bool) -> None:
        self.drawn, self.held = drawn, held
        self._about: Retouched | None = None

    def about(self, images: Tensor) -> None:
        """Takes the means of these images, unless it has taken any."""
        if self._about is None:
            self._about = self.drawn.about(images.detach() if self.held else images)

    def __call__(self, images: Tensor) -> Tensor:
        self.about(images)
        assert self._about is not None
        return self._about(images)

    def moved(self, images: Tensor) -> Tensor:
        return self.drawn.moved(images)


class GATJudge:
    """Implements contracts.Judge: augments all levels alike, about the means of the last one, brings them to
    their sizes, and adds noise.

    augmentation: None if samples are already augmented. fresh: the noise of each level.
    """

    def __init__(self, game: GATGame, augmentation: SameMeans | None, fresh: Sequence[Tensor]) -> None:
        self._game, self._augmentation, self._fresh = game, augmentation, fresh
        self._has_aligned = False

    def __call__(self, seen: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False) -> Verdict:
        logits, _ = self._game.networks.discriminator(self._shown(seen), labels, exact=exact)
        return Verdict(logits)

    def of_reals(self, reals: Batch, *, exact: bool = False) -> Verdict:
        """Returns the verdict on reals; if the game aligns them, the first time with their distances to the
        teacher. Later they are moved."""
        alignment = None if self._has_aligned or self._augmentation is None else self._game.aligning()
        self._has_aligned = True
        if alignment is None:
            return self((reals.images,), reals.labels, exact=exact)
        assert self._augmentation is not None
        logits, features = self._game.networks.discriminator(
            self._shown((reals.images,)), reals.labels, aligned=True, exact=exact
        )
        return Verdict(logits, extra=alignment.distances(features, self._augmentation.drawn))

    def _shown(self, seen: Sequence[Tensor]) -> tuple[Tensor, ...]:
        shape, levels = self._game.shape, list(seen)
        if self._augmentation is not None:
            self._augmentation.about(seen[-1])
            levels = [self._augmentation(images) for images in seen]
        if len(levels) == 1:  # of a real, the same at all levels
            levels *= len(shape.scales)
        config = shape.config
        amounts = amounts_of(len(levels), config.noise_signal, config.noise_floor)
        sized = [reduced(images, scale) for images, scale in zip(levels, shape.scales, strict=True)]
        return noised(sized, self._fresh, amounts, shape.scales)
