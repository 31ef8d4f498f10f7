"""A few numbers on their way from the device to the host, which does not wait for them."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor


class Flags:
    """On a GPU the numbers of a step are read one step later: by then they have arrived, and nobody waits.
    On a CPU they are there at once. Every rank reads those of the same step at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._late = device.type == "cuda"
        self._coming: deque[tuple[Tensor, Any]] = deque()

    def exchange(self, values: Tensor) -> list[float] | None:
        """Sends the numbers of this step; gives those of the step before (None before there is one) on a GPU,
        these on a CPU."""
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
