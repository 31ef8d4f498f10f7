"""The content of a checkpoint: taken from a trainer, and put back into one."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.contracts import Keep, Networks, Process
from pipeline.errors import UserError
from pipeline.training.trainer import Trainer

Groups = Mapping[str, Mapping[str, Tensor]]


class RankShare:
    """The part of a checkpoint that one rank writes.

    Parameters and buffers are dealt out whole, each with its moments and averages, so that all ranks write
    about equally many bytes. The first rank also writes whatever belongs to no network. tracked: the number
    of averages beside the family's own.
    """

    def __init__(self, networks: Networks, process: Process, tracked: int = 0) -> None:
        self._rank = process.rank
        sizes = {
            f"{net}.{name}": _bytes_saved(net, value, tracked)
            for net, module in networks.items()
            for name, value in module.state_dict(keep_vars=True).items()
        }
        loads = [(0, rank) for rank in range(process.world_size)]
        self._owner: dict[str, int] = {}
        # The largest first, each to the rank that has the fewest bytes so far.
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            load, rank = heapq.heappop(loads)
            self._owner[name] = rank
            heapq.heappush(loads, (load + sizes[name], rank))

    def holds(self, name: str) -> bool:
        """Returns whether this rank writes `name`: `<net>.<parameter or buffer>`, or any other name."""
        return self._owner.get(name, 0) == self._rank


def _bytes_saved(net: str, value: Tensor, tracked: int) -> int:
    copies = 1 + 2 * value.requires_grad
    if net == "generator":
        copies += 1 + tracked * isinstance(value, nn.Parameter)
    return copies * value.numel() * value.element_size()


def take(trainer: Trainer, keep: Keep = lambda name: True) -> dict[str, dict[str, Tensor]]:
    """Returns everything needed to continue bit for bit, by group and name.

    It contains no state of loaders or random generators, since order and seeds follow from `progress`.
    keep: selects what to include, by name (see `RankShare.holds`). Every rank must call this function.
    """
    networks = {
        f"{net}.{name}": value
        for net, module in trainer.networks.items()
        for name, value in module.state_dict().items()
        if keep(f"{net}.{name}")
    }
    average = trainer.averager.average.state_dict()
    own: dict[str, Mapping[str, Tensor]] = {
        "memory": trainer.family.memory.state_dict(),
        "progress": trainer.progress.state(),
    }
    tracked = {"tracked": trainer.tracked.state(keep)} if len(trainer.tracked) else {}
    return {
        "networks": networks,
        "average": {name: value for name, value in average.items() if keep(f"generator.{name}")},
        **tracked,
        "optimizers": trainer.engine.optimizer_state(keep),
        **{group: dict(tensors) if keep(group) else {} for group, tensors in own.items()},
    }


def copied(groups: Groups) -> dict[str, dict[str, Tensor]]:
    """Returns copies on the CPU, which training does not change."""
    return {
        group: {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        for group, tensors in groups.items()
    }


def put_back(trainer: Trainer, groups: Groups) -> list[float]:
    """Restores what `take` returned. Raises UserError if names or shapes differ; it names the first that does
    not fit.

    Returns the widths of the tracked averages that are not in it, which begin at its position.
    """
    try:
        networks = groups["networks"]
        for net, module in trainer.networks.items():
            own = {name.removeprefix(f"{net}."): networks[name] for name in networks if _is_of(name, net)}
            _load(module, own, net)
        _load(trainer.averager.average, groups["average"], "average")
        _load(trainer.family.memory, groups.get("memory", {}), "memory")
        trainer.engine.load_optimizer_state(groups.get("optimizers", {}))
        trainer.progress.load(groups["progress"])
        return trainer.tracked.load(groups.get("tracked", {}), trainer.progress.images_seen)
    except (KeyError, ValueError, RuntimeError) as error:
        first = str(error.args[0]).splitlines()[0]
        raise UserError(f"checkpoint: does not fit this configuration's networks: {first}") from error


def _is_of(name: str, net: str) -> bool:
    return name.startswith(f"{net}.")


def _load(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Copies a state into a module. Raises ValueError with the first tensor that does not fit."""
    own = module.state_dict()
    for tensor in sorted(own.keys() | state.keys()):
        here, there = (list(t[tensor].shape) if tensor in t else "missing" for t in (own, state))
        if here != there:
            raise ValueError(f"{name}.{tensor}: {there} in the checkpoint, {here} here")
    module.load_state_dict(dict(state))
