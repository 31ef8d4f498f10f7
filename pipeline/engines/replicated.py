"""The engine that keeps all weights on every rank: an all-reduce of one flat buffer per phase makes gradients
equal.

`forward` is never wrapped, so that penalties with second derivatives, lazy phases and networks of any shape
need no tricks. Each parameter's `.grad` is a view into one flat buffer, which also makes a gradient that a
phase does not compute a plain zero. The buffer is sent as a whole after the backward pass, or in buckets
during it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.contracts import Keep, Net, Networks, Process, Rule, StepReport
from pipeline.engines.buckets import Buckets
from pipeline.engines.optimizers import by_parameter, clip, new_optimizer, set_rate, skip_unless


def trainable(module: nn.Module) -> tuple[list[str], list[nn.Parameter]]:
    """Returns the names and parameters that a network trains, in the module's order, without frozen ones."""
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    return [name for name, _ in trained], [parameter for _, parameter in trained]


def of_net(net: Net, keep: Keep) -> Keep:
    """Returns `keep` for the names within one network."""
    return lambda name: keep(f"{net}.{name}")


def by_player(state: Mapping[str, Tensor], players: Iterable[Net]) -> dict[Net, dict[str, Tensor]]:
    """Splits an optimizer state `<net>.<name>` into each player's own, by `<name>`. Raises KeyError if it
    contains another name."""
    split: dict[Net, dict[str, Tensor]] = {net: {} for net in players}
    for name, value in state.items():
        net, _, own = name.partition(".")
        if net not in split:
            raise KeyError(f"optimizer state of {name}: nothing here has it")
        split[net][own] = value
    return split


class _Player:
    """One player's trainable parameters, flat gradient and optimizer."""

    def __init__(self, module: nn.Module, rule: Rule) -> None:
        self.rule = rule
        self.names, self.parameters = trainable(module)
        total = sum(parameter.numel() for parameter in self.parameters)
        first = self.parameters[0]
        # Every `.grad` stays a view into this buffer for as long as the run lasts. Whoever sets one to None,
        # as torch's own zero_grad does, cuts it loose, and the ranks exchange zeros in its place.
        self.flat = torch.zeros(total, device=first.device, dtype=first.dtype)
        self._bind_gradients()
        self.new_optimizer()

    @property
    def backwards(self) -> list[nn.Parameter]:
        """The parameters in the order of `flat`: last first, about as a backward pass comes to them."""
        return self.parameters[::-1]

    def _bind_gradients(self) -> None:
        sizes = [parameter.numel() for parameter in self.backwards]
        for parameter, view in zip(self.backwards, torch.split(self.flat, sizes), strict=True):
            parameter.grad = view.view_as(parameter)

    def new_optimizer(self) -> None:
        self.optimizer = new_optimizer(self.parameters, self.rule)

    def update(self, rate: float, beta2: float | None, norm: Tensor, finite: Tensor) -> None:
        set_rate(self.optimizer, self.rule, rate, beta2)
        skip_unless(finite, self.optimizer)
        clip([self.flat], norm, self.rule)
        self.optimizer.step()
        self.flat.zero_()  # in place, for the views; and also after an update that was skipped

    def state(self, keep: Keep) -> dict[str, Tensor]:
        """Slots by parameter name; none before the first update."""
        return {
            f"{name}.{slot}": value
            for name, parameter in zip(self.names, self.parameters, strict=True)
            if keep(name)
            for slot, value in self.optimizer.state.get(parameter, {}).items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.new_optimizer()
        by_name = by_parameter(state, self.names, self.rule)
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if name in by_name:
                self.optimizer.state[parameter] = {
                    # Copies: updates are in place, and would write into what the caller holds.
                    slot: value.to(parameter.device, copy=True)
                    for slot, value in by_name[name].items()
                }


class AveragesOverRanks:
    """What all engines have in common: averages of small tensors over the ranks.

    collectives: how many exchanges between ranks this one has begun; it shows which rank lags behind.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.collectives = 0

    def any(self, flag: bool) -> bool:
        if self.process.world_size == 1:
            return flag
        self.collectives += 1
        # It waits for the device: for decisions between steps, never within one.
        box = torch.full((), float(flag), device=self.process.device)
        dist.all_reduce(box, dist.ReduceOp.MAX)
        return bool(box.item())

    def mean(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.process.world_size == 1 or not stats:
            return dict(stats)
        # Sums go by place, not by name: ranks may have gathered the same figures in another order.
        names = sorted(stats)
        shapes = [stats[name].shape for name in names]
        flat = torch.cat([stats[name].detach().float().reshape(-1) for name in names])
        self._average(flat)
        parts = torch.split(flat, [shape.numel() for shape in shapes])
        return {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}

    def _average(self, flat: Tensor) -> None:
        # All ranks must come here in the same order: an exchange that one of them leaves out is paired with
        # the next one of the others, which hangs, or adds up what does not belong together.
        if self.process.world_size > 1:
            self.collectives += 1  # before: a heartbeat compares what ranks have begun
            dist.all_reduce(flat)
            flat /= self.process.world_size


class Replicated(AveragesOverRanks):
    """The `replicated` engine (see `contracts.Engine`).

    bucket_mb: the megabytes of gradients that are sent at once during the backward pass; 0 sends all of them
    after it. timeout_minutes: how long to wait for a bucket of a peer before that is an error.
    """

    def __init__(self, process: Process, bucket_mb: float = 0, timeout_minutes: float = 30) -> None:
        super().__init__(process)
        self._players: dict[Net, _Player] = {}
        self._bucket_bytes = 1e6 * bucket_mb if process.world_size > 1 else 0
        self._buckets: dict[Net, Buckets] = {}
        self._timeout = timedelta(minutes=timeout_minutes)
        self._group: dist.ProcessGroup | None = None

    @property
    def backward_is_local(self) -> bool:
        return not self._bucket_bytes

    def attach(self, networks: Networks, optimizers: Mapping[Net, Rule]) -> None:
        if self._bucket_bytes:
            # Networks exchange statistics within the same backward pass, when is theirs to say: a group of
            # its own keeps the order of each.
            self._group = cast(dist.ProcessGroup, dist.new_group(timeout=self._timeout))
        for net, module in networks.items():
            if not trainable(module)[0]:
                continue
            player = self._players[net] = _Player(module, optimizers[net])
            if self._bucket_bytes:
                self._buckets[net] = Buckets(player.backwards, player.flat, self._bucket_bytes, self._send)

    def backward(self, net: Net, loss: Tensor, *, last: bool = False) -> None:
        if last and net in self._buckets:
            self._buckets[net].expect(loss)
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, net: Net, rate: float, beta2: float | None = None) -> StepReport:
        player = self._players[net]
        # First the exchange: all ranks then judge the same numbers, and skip the update together or not at
        # all.
        self._reduce(net, player.flat)
        norm = torch.linalg.vector_norm(player.flat)
        finite = norm < math.inf  # false for NaN too, and one operation, not isfinite's four
        player.update(rate, beta2, norm, finite)
        return StepReport(finite, norm)

    def _reduce(self, net: Net, flat: Tensor) -> None:
        if net in self._buckets:
            self._buckets[net].finish()
            flat /= self.process.world_size
        else:
            self._average(flat)

    def _send(self, piece: Tensor) -> dist.Work:
        self.collectives += 1
        work = dist.all_reduce(piece, group=self._group, async_op=True)
        assert work is not None  # this rank is in the group
        return work

    def reset(self, net: Net) -> None:
        if net in self._players:
            self._players[net].new_optimizer()

    def optimizer_state(self, keep: Keep = lambda name: True) -> dict[str, Tensor]:
        return {
            f"{net}.{name}": value
            for net, player in self._players.items()
            for name, value in player.state(of_net(net, keep)).items()
        }

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        of_players = by_player(state, self._players)
        for net, player in self._players.items():
            player.load(of_players[net])
