"""The words every room of the house shares: batches, terms, stages, phases, games, families, engines.

Nothing here knows a family or a library beyond torch. A family supplies values of these types;
the trainer, the evaluator and the generator run them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    Scalar = float | Tensor
    """A number, or a 0-d tensor of it on the device."""
else:
    Scalar = float  # what checks a stored stage by its types finds numbers
Net = Literal["generator", "discriminator"]
NETS: tuple[Net, ...] = ("generator", "discriminator")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What the data looks like, as far as a network's shape depends on it.

    height, width: pixels. channels: 1 (grey) or 3 (RGB). classes: number of labels, 0 if unlabelled.
    """

    height: int
    width: int
    channels: int
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Real images: `images` [N, C, H, W] float32 in [-1, 1]; `labels` [N] int64 class numbers or None."""

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return self.images.shape[0]


@dataclass(frozen=True, slots=True)
class Fakes:
    """Generated images [N, C, H, W] in about [-1, 1], their labels [N] or None, and the latents they
    were made from, still in the graph (StyleGAN's w, [N, layers, w_dim]), for latent-space penalties."""

    images: Tensor
    labels: Tensor | None
    latents: Tensor


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the discriminator says of images: `logits` [N] float32 and, from an auxiliary classifier,
    class logits `classes` [N, K], else None."""

    logits: Tensor
    classes: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """One objective's value: `loss` [N], unreduced, to be averaged over the global batch by the trainer.

    `stats` are detached batch means (scalars or vectors) that the trainer averages over micro-batches
    and ranks, shows, and hands to `Family.observe`.
    """

    loss: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """The conditions now, a pure function of images seen.

    resolution: pixels. fade: 0..1, weight of the newest level (1: fully grown). batch_size: global,
    in images. rates: learning rate a network. growth: number of levels grown so far; a change of it
    resets the optimizers. ema_beta: this step's decay of the averaged generator (0 copies it).
    adam_beta2: Adam's second decay a network, where it moves with images seen. weights: of the terms
    that move with images seen, by name ("r1_gamma"). A game gets weights, and a fade that is not 1, as
    scalars on the device: its arithmetic is then the same from step to step.
    """

    resolution: int
    fade: Scalar
    batch_size: int
    rates: Mapping[Net, float]
    growth: int = 0
    ema_beta: float = 0.0
    adam_beta2: Mapping[Net, float] = field(default_factory=dict)
    weights: Mapping[str, Scalar] = field(default_factory=dict)


class Schedule(Protocol):
    """The plan of a run over images seen."""

    def at(self, images_seen: int) -> Stage:
        """The stage at `images_seen`; pure, so that a restart needs no stored schedule."""

    def batch_sizes(self) -> Sequence[int]:
        """Every global batch size that may come, so that a bad one is refused before the run starts."""


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


@dataclass(frozen=True, slots=True)
class Networks:
    """The two players."""

    generator: nn.Module
    discriminator: nn.Module

    def __getitem__(self, net: Net) -> nn.Module:
        return self.generator if net == "generator" else self.discriminator

    def items(self) -> Iterator[tuple[Net, nn.Module]]:
        for net in NETS:
            yield net, self[net]


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


Keep = Callable[[str], bool]
Objective = Callable[[Game, Batch], Terms]


@dataclass(frozen=True)
class Phase:
    """Whose turn it is, with which objective, and how often.

    every: in steps (lazy regularisation). repeats: turns a step, each on fresh reals. gain: factor
    on the loss (lazy regularisation: `every`). settle: done to the trained network after each update
    (weight clipping). own_reals: its reals are others than those of the other phases: at the same position
    of another order of the data, so that they do not count as images seen. exact: a pass of its objective
    asks for `exact`, so that its products compute in full (`float32.of_turn`).
    """

    name: str
    trains: Net
    objective: Objective
    every: int = 1
    repeats: int = 1
    gain: float = 1.0
    settle: Callable[[nn.Module], None] | None = None
    own_reals: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class AdamRule:
    """Adam's constants for one network (Kingma and Ba 2015, algorithm 1); the rate comes from the stage."""

    beta1: float
    beta2: float
    eps: float = 1e-8


class Sampler(Protocol):
    """Makes images from a trained (averaged) generator."""

    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Image i depends on seeds[i] (and its class and truncation psi) alone, not on its neighbours.

        classes: one class number an image; None lets a conditional model draw it from the seed.
        """


class Family(Protocol):
    """One kind of GAN as data: networks, schedule, phases, game, sampler. It owns no loop.

    memory: what the family remembers across steps beyond weights (ADA's p, the path-length mean),
    as buffers of a module: saved in every checkpoint, equal on all ranks.
    """

    spec: ImageSpec
    schedule: Schedule
    phases: tuple[Phase, ...]
    optimizers: Mapping[Net, AdamRule]
    memory: nn.Module

    def networks(self) -> Networks:
        """Freshly initialised networks, from torch's global generator."""

    def game(self, networks: Networks, stage: Stage, randomness: Randomness) -> Game: ...

    def check_batch(self, images: int) -> None:
        """UserError if the networks cannot take `images` at once on one rank (minibatch statistics)."""

    def observe(self, networks: Networks, stats: Mapping[str, Tensor], images: int) -> None:
        """Called once a step with the step's stats averaged over all ranks and `images`, the images
        of this step: moves the memory (ADA's p, path-length mean) and running buffers (w_avg).
        It must not wait for the device. A stat that is not finite (of a step whose update was
        skipped) must leave what it feeds as it was."""

    def figures(self) -> Mapping[str, Tensor]:
        """What people are shown of the memory as it is now, 0-d, by the names of the log ("state/ada_p")."""

    def sampler(self, generator: nn.Module, stage: Stage | None = None) -> Sampler:
        """Samples of the data's resolution from a generator as it is at `stage`; None: fully trained."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What an optimizer step did: `finite` and `gradient_norm` are 0-d tensors, left on the device."""

    finite: Tensor
    gradient_norm: Tensor


@dataclass(frozen=True, slots=True)
class Process:
    """This process among its peers; `device` is where it computes."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@runtime_checkable
class Engine(Protocol):
    """Where gradients meet, and nothing else. `forward` is never wrapped.

    A missing gradient is zero. All ranks hold the same parameters after `step`.
    """

    process: Process
    collectives: int
    """Exchanges between ranks that this rank has begun, for telling who is behind."""

    @property
    def backward_is_local(self) -> bool:
        """Backward exchanges nothing, and adds to gradients whose memory stays: it may be captured."""

    def attach(self, networks: Networks, optimizers: Mapping[Net, AdamRule]) -> None:
        """Take charge of the networks' parameters; every rank must hold equal ones."""

    def backward(self, net: Net, loss: Tensor, *, last: bool = False) -> None:
        """Accumulate d loss / d parameters of `net` on this rank; `loss` is 0-d.

        last: `step` comes next, so that gradients may go out while others are still computed.
        """

    def step(self, net: Net, rate: float, beta2: float | None = None) -> StepReport:
        """Average gradients over ranks, update unless any is not finite, and clear.

        beta2: Adam's second decay for this update; None: the rule's.
        """

    def reset(self, net: Net) -> None:
        """Forget the optimizer's moments (on growth)."""

    def any(self, flag: bool) -> bool:
        """True on every rank if true on one."""

    def mean(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Averages over ranks; every rank must pass the same names and shapes."""

    def optimizer_state(self, keep: Keep = lambda name: True) -> dict[str, Tensor]:
        """Canonical state by name: `<net>.<parameter>.exp_avg`, `.exp_avg_sq`, `.step`; float32.

        keep: of which parameters, by `<net>.<parameter>`. Every rank must call it, and may keep others.
        """

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what any engine of any world size gave; every rank passes all of it. KeyError if
        it is another network's."""
