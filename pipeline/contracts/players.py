"""The two players and how they play: networks, random numbers, games, phases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from pipeline.contracts.data import Batch, Fakes, Terms, Verdict
from pipeline.contracts.stages import NETS, Net, Stage


@dataclass(frozen=True, slots=True)
class Networks:
    """The two players.

    Each may consist of several networks (an `nn.ModuleDict`, as for CycleGAN's two generators). The
    discriminator may have no parameters (`nn.Module()`, for a likelihood model or an autoencoder); then no
    phase trains it.
    """

    generator: nn.Module
    discriminator: nn.Module

    def __getitem__(self, net: Net) -> nn.Module:
        return self.generator if net == "generator" else self.discriminator

    def items(self) -> Iterator[tuple[Net, nn.Module]]:
        for net in NETS:
            yield net, self[net]


class Randomness(Protocol):
    """The random numbers of one micro-batch, one stream per sample.

    Each sample's stream depends only on the run's seed, the phase and the sample's global position, so that
    a draw is the same for any number of ranks and any split into micro-batches.
    """

    @property
    def count(self) -> int:
        """The number of samples N."""

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers, [N, *shape] float32, on the run's device."""

    def uniform(self, *shape: int) -> Tensor:
        """Draws uniform numbers in [0, 1), [N, *shape] float32."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draws uniform integers in [0, high), [N, *shape] int64."""

    def first(self, count: int) -> Randomness:
        """Returns the streams of the first `count` samples (for penalties on part of the batch)."""


class Game(Protocol):
    """How the two networks play, bound to one stage and to the random numbers of one micro-batch.

    `exact=True` asks for full float32 (for penalties); otherwise a family may use low precision.
    """

    @property
    def networks(self) -> Networks: ...

    @property
    def stage(self) -> Stage: ...

    @property
    def randomness(self) -> Randomness: ...

    def present(self, reals: Batch) -> Batch:
        """Returns the reals as this stage shows them: unchanged, or in ProGAN resized and faded."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Generates `count` fakes from the randomness of this micro-batch.

        labels: class numbers [count]; with None, a conditional generator's are drawn uniformly.
        """

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """Augments images [N, C, H, W] and returns the discriminator's verdict on them."""

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        """Judges fakes and as many reals, in this order; in one pass where that changes nothing but
        rounding."""


@runtime_checkable
class LevelledGame(Game, Protocol):
    """A game whose fakes have `levels`, all of which the discriminator sees (Karnewar and Wang 2020).

    `judge(images, ...)` is the same as `judge_levels(levels(images), ...)`.
    """

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns real images [N, C, H, W] at every level, in the shapes of `Fakes.levels`.

        The result is differentiable, since penalties on reals take the gradient with respect to the images.
        """

    def judge_levels(
        self, levels: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False
    ) -> Verdict:
        """Augments samples, given at every level, and returns the discriminator's verdict on them."""


class Augmentation(Protocol):
    """An augmentation of each image of a batch, with all its random numbers already drawn.

    It may be applied any number of times, and to variants of the batch: the same images slightly moved, their
    counterparts, or images with parts removed.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """Augments images [N, C, H, W], of the size that it was drawn for; differentiable."""

    def moved(self, images: Tensor) -> Tensor:
        """Applies only the geometric part, to images with any number of channels: masks, label maps."""


@runtime_checkable
class AugmentedGame(Game, Protocol):
    """A game whose augmentation can be drawn beforehand and applied more than once.

    `judge(images, ...)` is the same as `judge_shown(draw_augmentation(N)(images), ...)`.
    """

    def draw_augmentation(self, count: int) -> Augmentation:
        """Draws an augmentation for `count` images from the micro-batch's randomness, each image's own."""

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """Returns the discriminator's verdict on images [N, C, H, W] as they are, without augmentation."""


class Judge(Protocol):
    """The discriminator, and all that is random between samples and its verdict (augmentation, noise) already
    drawn.

    It may judge any number of times: the same samples again, or slightly moved ones. Buffers that a pass
    changes (power iteration, running statistics) are for each pass what they were for the first, and keep
    what the first made of them. Two passes over the same samples therefore give the same bits.
    """

    def __call__(self, seen: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """Returns the verdict on N samples, the number that the judge was drawn for.

        seen: the samples as the discriminator is shown them before anything random, like `Fakes.seen`: one
        tensor [N, C, H, W], or one per level for a `LevelledGame`.
        """


@runtime_checkable
class ReplayedGame(Game, Protocol):
    """A game in which the same samples, or slightly moved ones, can be judged again in the same way.

    `judge(images, ...)` is the same as `draw_judge(N)((images,), ...)` or, with levels, as
    `draw_judge(N)(levels(images), ...)`; `judge_levels(levels, ...)` is `draw_judge(N)(levels, ...)`.
    """

    def draw_judge(self, count: int) -> Judge:
        """Draws all that is random in a judgement of `count` samples, each sample's own, from the
        micro-batch's randomness."""

    def judge_both_by(
        self, judges: tuple[Judge, Judge], fakes: Fakes, reals: Batch, *, exact: bool = False
    ) -> tuple[Verdict, Verdict]:
        """Judges fakes by the first of two judges that this game has drawn, and as many reals by the second;
        in one pass where `judge_both` does so. With two judges fresh from `draw_judge`, it is `judge_both`.
        """


Objective = Callable[[Game, Batch], Terms]


@dataclass(frozen=True)
class Phase:
    """Whose turn it is, with which objective, and how often.

    name: what it is called in the log and in seeds. trains: the network that is updated. every: the number
    of steps from one turn to the next (lazy regularisation). repeats: turns per step, each on fresh reals.
    gain: a factor on the loss (`every` under lazy regularisation). settle: applied to the trained network
    after each update (weight clipping). own_reals: 0 for the reals that count as images seen; n for those at
    the same position in the n-th other order of the data, for phases that must not see the other phases'
    reals. exact: whether a pass of the objective asks for `exact`, so that the turn's products are computed
    in full float32 (`float32.of_turn`). begins: the number of images seen from which on it has turns.
    """

    name: str
    trains: Net
    objective: Objective
    every: int = 1
    repeats: int = 1
    gain: float = 1.0
    settle: Callable[[nn.Module], None] | None = None
    own_reals: int = 0
    exact: bool = False
    begins: int = 0
