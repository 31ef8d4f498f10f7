"""The conditions of training, as a plan over images seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

Scalar = float | Tensor
"""A number, or a 0-d tensor of it on the device."""
Net = Literal["generator", "discriminator"]
NETS: tuple[Net, ...] = ("generator", "discriminator")


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
