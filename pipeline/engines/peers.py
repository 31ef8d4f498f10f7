"""What processes that share work exchange beside gradients: values to and from the first one."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

from pipeline.contracts import Process

Value = TypeVar("Value")


class ProcessPeers:
    """The processes of a group (see `start_process`) as peers that share work. They communicate over gloo in
    CPU memory, whatever device they compute on.

    collectives: how many exchanges this process has begun; it shows which process lags behind.
    """

    def __init__(self, process: Process) -> None:
        self.rank, self.world_size, self.collectives = process.rank, process.world_size, 0
        self._group: dist.ProcessGroup | None = None
        if process.world_size > 1:
            # All ranks make the same groups in the same order, whoever is to talk in them.
            group = dist.new_group(backend="gloo")
            assert isinstance(group, dist.ProcessGroup), "this process is in the group of all"
            self._group = group

    def gather(self, value: Value) -> list[Value]:
        """Returns the `value` of every process, in the order of ranks, on the first one; nothing
        elsewhere."""
        self.collectives += 1
        if self._group is None:
            return [value]
        values: list[Value] | None = [value] * self.world_size if self.rank == 0 else None
        dist.gather_object(value, values, dst=0, group=self._group)
        return values or []

    def from_first(self, value: Value) -> Value:
        """Returns the `value` of the first process on every process."""
        self.collectives += 1
        if self._group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]
