"""What processes that share work exchange beside gradients: values to and from the first."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

from pipeline.contracts import Process

Value = TypeVar("Value")


class ProcessPeers:
    """The processes of a group (see `start_process`) as peers in a work; they talk over gloo, in CPU memory,
    whatever they compute on. collectives: exchanges begun, for telling who is behind."""

    def __init__(self, process: Process) -> None:
        self.rank, self.world_size, self.collectives = process.rank, process.world_size, 0
        self._group: dist.ProcessGroup | None = None
        if process.world_size > 1:
            # All ranks make the same groups in the same order, whoever is to talk in them.
            group = dist.new_group(backend="gloo")
            assert isinstance(group, dist.ProcessGroup), "this process is in the group of all"
            self._group = group

    def gather(self, value: Value) -> list[Value]:
        """Every process's `value`, in the order of ranks, on the first; nothing elsewhere."""
        self.collectives += 1
        if self._group is None:
            return [value]
        values: list[Value] | None = [value] * self.world_size if self.rank == 0 else None
        dist.gather_object(value, values, dst=0, group=self._group)
        return values or []

    def from_first(self, value: Value) -> Value:
        """The first process's `value`, everywhere."""
        self.collectives += 1
        if self._group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]
