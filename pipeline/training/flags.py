"""Brings a few numbers of each step from the device to the host without making the host wait."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor


class Flags:
    """The numbers of the latest steps, on their way to the host.

    On a GPU the numbers of a step are read one step later, when they have arrived, so that nothing waits. On
    a CPU they are read at once. All ranks read the numbers of the same step at the same point.
    """

    def __init__(self, device: torch.device) -> None:
        self._late = device.type == "cuda"
        self._coming: deque[tuple[Tensor, Any]] = deque()

    def exchange(self, values: Tensor) -> list[float] | None:
        """Sends the numbers of this step, and returns those of the previous step on a GPU (None at the first
        step), those of this step on a CPU."""
        if not self._late:
            return list(values.tolist())
        # A copy to memory that is not pinned would queue behind the step and hold the host until its end.
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self._coming.append((host, arrived))
        if len(self._coming) < 2:
            return None
        host, arrived = self._coming.popleft()
        arrived.synchronize()
        return list(host.tolist())
