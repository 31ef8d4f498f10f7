"""What a checkpoint holds, taken from a trainer and put back into one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import UserError
from pipeline.training.trainer import Trainer

Groups = Mapping[str, Mapping[str, Tensor]]


def take(trainer: Trainer) -> dict[str, dict[str, Tensor]]:
    """Everything needed to continue bit for bit, by group and name. Order and seeds follow from
    `progress`, so no loader or random state is in it."""
    return {
        "networks": {
            f"{net}.{name}": value
            for net, module in trainer.networks.items()
            for name, value in module.state_dict().items()
        },
        "average": dict(trainer.averager.average.state_dict()),
        "optimizers": trainer.engine.optimizer_state(),
        "memory": dict(trainer.family.memory.state_dict()),
        "progress": trainer.progress.state(),
    }


def copied(groups: Groups) -> dict[str, dict[str, Tensor]]:
    """The same on the CPU in memory of its own, which training does not change."""
    return {
        group: {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        for group, tensors in groups.items()
    }


def put_back(trainer: Trainer, groups: Groups) -> None:
    """The reverse of `take`; names that do not fit are a UserError."""
    try:
        for net, module in trainer.networks.items():
            prefix = f"{net}."
            own = {
                name.removeprefix(prefix): value
                for name, value in groups["networks"].items()
                if name.startswith(prefix)
            }
            module.load_state_dict(own)
        trainer.averager.average.load_state_dict(groups["average"])
        trainer.family.memory.load_state_dict(groups["memory"])
        trainer.engine.load_optimizer_state(groups["optimizers"])
        trainer.progress.load(groups["progress"])
    except (KeyError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"checkpoint: does not fit this configuration's networks: {first}") from error
