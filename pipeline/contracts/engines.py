"""Where the gradients of all ranks meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline.contracts.optimizers import Rule
from pipeline.contracts.players import Networks
from pipeline.contracts.stages import Net

Keep = Callable[[str], bool]


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

    def attach(self, networks: Networks, optimizers: Mapping[Net, Rule]) -> None:
        """Take charge of the networks' parameters; every rank must hold equal ones."""

    def backward(self, net: Net, loss: Tensor, *, last: bool = False) -> None:
        """Accumulate d loss / d parameters of `net` on this rank; `loss` is 0-d.

        last: `step` comes next, so that gradients may go out while others are still computed.
        """

    def step(self, net: Net, rate: float, beta2: float | None = None) -> StepReport:
        """Average gradients over ranks, update unless any is not finite, and clear.

        beta2: Adam's second decay for this update; None: the rule's. Of no account to rules without one.
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
