"""The two players and how they play: networks, chance, games, phases."""

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

    Each may hold several networks (`nn.ModuleDict`: CycleGAN's two generators). The second may have no
    parameters (`nn.Module()`: a likelihood, an autoencoder); then no phase trains it.
    """

    generator: nn.Module
    discriminator: nn.Module

    def __getitem__(self, net: Net) -> nn.Module:
        return self.generator if net == "generator" else self.discriminator

    def items(self) -> Iterator[tuple[Net, nn.Module]]:
        for net in NETS:
            yield net, self[net]


class Randomness(Protocol):
    """The random numbers of one micro-batch, sample by sample.

    Each sample owns a stream that depends on the run's seed, the phase and the sample's global
    position alone, so that a draw is the same on any number of ranks and in any micro-batch split.
    """

    @property
    def count(self) -> int:
        """Number of samples N."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, [N, *shape] float32, on the run's device."""

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), [N, *shape] float32."""

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform whole numbers in [0, high), [N, *shape] int64."""

    def first(self, count: int) -> Randomness:
        """The streams of the first `count` samples (for penalties on part of the batch)."""


class Game(Protocol):
    """How the two networks play, bound to one stage and to one micro-batch's random numbers.

    `exact=True` asks for full float32 (penalties); otherwise a family may use low precision.
    """

    @property
    def networks(self) -> Networks: ...

    @property
    def stage(self) -> Stage: ...

    @property
    def randomness(self) -> Randomness: ...

    def present(self, reals: Batch) -> Batch:
        """The reals as this stage shows them (identity; ProGAN: resized and faded)."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """`count` fakes from this micro-batch's randomness, of these labels [count] (None: drawn uniformly
        if the generator is conditional)."""

    def judge(self, images: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """The discriminator on images [N, C, H, W], after augmentation."""

    def judge_both(self, fakes: Fakes, reals: Batch, *, exact: bool = False) -> tuple[Verdict, Verdict]:
        """`judge` of fakes, then of as many reals; in one pass where that changes no more than rounding."""


@runtime_checkable
class LevelledGame(Game, Protocol):
    """A game whose fakes have `levels`, all of which its discriminator sees (Karnewar and Wang 2020).

    `judge` of images is `judge_levels` of their `levels`.
    """

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """What real images [N, C, H, W] are at each level, shaped as `Fakes.levels`; differentiable in them,
        since penalties on reals take the gradient with respect to the images."""

    def judge_levels(
        self, levels: Sequence[Tensor], labels: Tensor | None, *, exact: bool = False
    ) -> Verdict:
        """The discriminator on samples whose every level is given, after augmentation."""


class Augmentation(Protocol):
    """What happens to each image of a batch, all numbers drawn. It may be applied as often as it is needed,
    to any images of the batch: the same ones moved a little, their pairs, what is left of them."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W], of the size that it was drawn for, as they are shown; differentiable."""

    def moved(self, images: Tensor) -> Tensor:
        """Only what it does to places, of images of any number of channels: masks, maps of labels."""


@runtime_checkable
class AugmentedGame(Game, Protocol):
    """A game whose discriminator sees images through an augmentation that may be drawn first and used again:
    `judge` of images is `judge_shown` of them as `draw_augmentation` shows them."""

    def draw_augmentation(self, count: int) -> Augmentation:
        """For `count` images, from the micro-batch's randomness: each is another."""

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """The discriminator on images [N, C, H, W] as they are."""


Objective = Callable[[Game, Batch], Terms]


@dataclass(frozen=True)
class Phase:
    """Whose turn it is, with which objective, and how often.

    every: in steps (lazy regularisation). repeats: turns a step, each on fresh reals. gain: factor
    on the loss (lazy regularisation: `every`). settle: done to the trained network after each update
    (weight clipping). own_reals: 0: the reals that count as images seen; n: those at the same position of
    the n-th other order of the data, for phases that must not see the others' reals. exact: a pass of its
    objective asks for `exact`, so that its products compute in full (`float32.of_turn`).
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
