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
    """What an optimizer step did.

    finite: whether all gradients were finite. gradient_norm: their norm over the whole network. Both are 0-d
    tensors that stay on the device.
    """

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
    """Combines the gradients of all ranks and updates the parameters; it never wraps `forward`.

    A missing gradient counts as zero. All ranks hold the same parameters after `step`.
    """

    process: Process
    collectives: int
    """How many exchanges between ranks this rank has begun; it shows which rank lags behind."""

    @property
    def backward_is_local(self) -> bool:
        """Whether `backward` exchanges nothing between ranks and accumulates into gradients that stay where
        they are in memory, so that it may be captured in a CUDA graph."""

    def attach(self, networks: Networks, optimizers: Mapping[Net, Rule]) -> None:
        """Takes charge of the networks' parameters, which must be equal on all ranks."""

    def backward(self, net: Net, loss: Tensor, *, last: bool = False) -> None:
        """Accumulates the gradient of `loss` (0-d) with respect to the parameters of `net` on this rank.

        last: whether `step` comes next, so that gradients may be sent while others are still being computed.
        """

    def step(self, net: Net, rate: float, beta2: float | None = None) -> StepReport:
        """Averages the gradients over ranks, updates the parameters unless a gradient is not finite, and
        clears the gradients.

        rate: the learning rate. beta2: Adam's second decay rate for this update; None takes the rule's. Rules
        that have no such rate ignore it.
        """

    def reset(self, net: Net) -> None:
        """Clears the optimizer's moments (when the networks grow)."""

    def any(self, flag: bool) -> bool:
        """Returns True on every rank if `flag` is True on at least one."""

    def mean(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the averages over ranks; every rank must pass the same names and shapes."""

    def optimizer_state(self, keep: Keep = lambda name: True) -> dict[str, Tensor]:
        """Returns the state by canonical names, `<net>.<parameter>.<slot>` (`Rule.slots`), in float32.

        keep: selects the parameters to include, by `<net>.<parameter>`. Every rank must call this method;
        each may include other parameters.
        """

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores a state that any engine, with any number of ranks, returned; every rank passes the whole
        of it. Raises KeyError if the state belongs to other networks."""
