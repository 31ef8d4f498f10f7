"""The conditions of training, as a plan over images seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

Scalar = float | Tensor
"""A number, or a 0-d tensor on the device that holds it."""
Net = Literal["generator", "discriminator"]
NETS: tuple[Net, ...] = ("generator", "discriminator")


@dataclass(frozen=True, slots=True)
class Stage:
    """The conditions at one position of a run; a pure function of the images seen.

    resolution: the side of the images in pixels. fade: the weight of the newest level, from 0 to 1 (fully
    grown). batch_size: images per step over all ranks. rates: the learning rate of each network. growth: the
    number of levels grown so far; a change resets the optimizers. ema_beta: the decay of the averaged
    generator at this step (0 copies the generator). adam_beta2: Adam's second decay rate of each network for
    which it changes with images seen. weights: the weights of terms that change with images seen, by name
    ("r1_gamma"). A game gets the weights, and a fade below 1, as scalars on the device, so that its
    operations are the same at every step.
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
        """Returns the stage at `images_seen`. The function is pure, so that a restart needs no stored
        schedule."""

    def batch_sizes(self) -> Sequence[int]:
        """Returns every global batch size of the plan, so that a bad one is refused before the run starts."""
